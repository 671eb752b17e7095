"""One job at a time in a thread of its own, while its starter goes on."""

import threading
from collections.abc import Callable


class Aside:
    """Where a service does its daily work. Cut off with the process, it is begun anew later."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        """Tell whether the job goes on."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, job: Callable[[], None]) -> None:
        """Start a job; whoever asks sees first that the last one is done."""
        self._thread = threading.Thread(target=job, name=self._name, daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the job."""
        if self._thread is not None:
            self._thread.join(timeout_s)
