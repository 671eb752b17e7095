"""Readers: people who open the worklist in its order, one study after the other, at a rate."""

import random
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Final

import httpx

from triage.errors import ConfigError, TriageError

LIMIT: Final = 500
LOOK_EVERY_S: Final = 0.5
TIMEOUT_S: Final = 20.0
PATIENCE_S: Final = 30.0
"""For a worklist that is just starting."""
RECEIVING: Final = "receiving"
_FORM_TOKEN: Final = re.compile(r'name="csrf_token"\s+value="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Desk:
    """Where readers sign in, and as whom."""

    url: str
    user: str
    password: str
    read_s: float
    """Mean real seconds a reader spends on a study."""


@dataclass(slots=True)
class Seen:
    """Which studies were opened, and when; readers share it."""

    opened: dict[str, float] = field(default_factory=dict)
    """Study Instance UID -> seconds since the epoch."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, studies: list[dict[str, object]]) -> dict[str, object] | None:
        """Give the first study that nobody has opened, and note that it is being read."""
        with self.lock:
            for study in studies:
                uid = str(study["study_instance_uid"])
                if uid not in self.opened and study["state"] != RECEIVING:
                    self.opened[uid] = time.time()
                    return study
        return None


class Reader(threading.Thread):
    """One person at one screen."""

    def __init__(self, desk: Desk, seen: Seen, seed: int) -> None:
        """Sign in.

        Raises:
            ConfigError: the worklist does not answer, or refuses name or password.
        """
        super().__init__(name=f"reader-{seed}", daemon=True)
        self._desk, self._seen = desk, seen
        self._dice = random.Random(seed)  # noqa: S311 - a simulation, no secret
        self._stop_asked = threading.Event()
        self._is_reading, self._looked_at = False, 0.0
        self._client = sign_in(desk, patience_s=PATIENCE_S)
        self.failed = 0
        """Requests that did not work."""

    def run(self) -> None:
        """Read until told to stop."""
        while not self._stop_asked.is_set():
            pause_s, looked_at = LOOK_EVERY_S, time.monotonic()
            self._is_reading = False
            try:
                if self._read_next():
                    self._is_reading = True
                    pause_s = self._dice.expovariate(1 / self._desk.read_s)
            except (httpx.HTTPError, TriageError, ValueError, KeyError):
                self.failed += 1
            self._looked_at = looked_at
            self._stop_asked.wait(pause_s)
        self._client.close()

    def has_looked_since(self, moment: float) -> bool:
        """Tell whether it began a look at the list after a monotonic moment, or reads a study."""
        return self._is_reading or self._looked_at > moment or not self.is_alive()

    def stop(self) -> None:
        """End it, and wait for the end."""
        self._stop_asked.set()
        if self.is_alive():
            self.join(TIMEOUT_S)
        self._client.close()

    def _read_next(self) -> bool:
        answer = self._client.get("/api/studies", params={"limit": LIMIT})
        if answer.status_code in (401, 303):  # the session has ended, as it does for people
            self._client.close()
            self._client = sign_in(self._desk)
            return False
        study = self._seen.take(answer.raise_for_status().json()["studies"])
        if study is None:
            return False
        try:
            self._client.get(f"/studies/{study['id']}").raise_for_status()
        except httpx.HTTPError:
            with self._seen.lock:  # it was not seen: somebody has to open it again
                del self._seen.opened[str(study["study_instance_uid"])]
            raise
        return True


def sign_in(desk: Desk, *, patience_s: float = 0.0) -> httpx.Client:
    """Give a client with a session; ``patience_s`` is for a worklist that does not answer yet.

    Raises:
        ConfigError: the worklist does not answer, or refuses name or password.
    """
    deadline = time.monotonic() + patience_s
    while True:
        client = httpx.Client(base_url=desk.url, timeout=TIMEOUT_S)
        try:
            return _signed_in(client, desk)
        except httpx.HTTPError as why:
            client.close()
            if time.monotonic() >= deadline:
                name = type(why).__name__
                msg = f"the worklist at {desk.url} does not answer ({name}); check --web"
                raise ConfigError(msg) from None
            time.sleep(LOOK_EVERY_S)
        except ConfigError:
            client.close()
            raise


def _signed_in(client: httpx.Client, desk: Desk) -> httpx.Client:
    form = _FORM_TOKEN.search(client.get("/login").raise_for_status().text)
    values = {"name": desk.user, "password": desk.password}
    values["csrf_token"] = form.group(1) if form else ""
    if client.post("/login", data=values).status_code != httpx.codes.SEE_OTHER:
        msg = f"the worklist at {desk.url} refuses this user or password; check --user"
        raise ConfigError(msg)
    return client
