"""Who was noted with what lately: leafing through a study or keeping a list open is one look."""

import threading
import time
from typing import Final

MOST: Final = 10_000


class Noticed:
    """Remembers looks whose audit rows are kept. Whoever is forgotten is noted once more."""

    def __init__(self, for_s: float) -> None:
        self._for_s = for_s
        self._at: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def lately(self, name: str, what: str) -> bool:
        """Tell whether this person's look at this was noted within the time."""
        with self._lock:
            at = self._at.get((name, what))
        return at is not None and time.monotonic() - at < self._for_s

    def keep(self, name: str, what: str) -> None:
        """Remember a look; only once its row is written, or a failed one would hide the next."""
        with self._lock:
            if len(self._at) >= MOST:
                self._at.clear()
            self._at[name, what] = time.monotonic()
