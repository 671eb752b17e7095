"""What the listener has to say on its way to the database, so much and no more.

Security events, for the audit trail, and of each association that ended how many instances it was
told are safe, to be held against what of them arrives.
"""

import json
import os
import re
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from triage.durable import start_ticks, sync_folder, time_ordered_uuid, write_synced

MAX_KEYS: Final = 200
"""Different events in one batch; beyond, only their kinds are told apart."""
MAX_BATCHES: Final = 1000
"""Batches on disk; beyond, events are only counted until the ingestor has caught up."""
EACH_AT_ONCE: Final = 10
EACH_EVERY_S: Final = 60.0
"""The same event is written so many times at once, then so often, with the count in between."""
ALL_AT_ONCE: Final = 200
ALL_EVERY_S: Final = 10.0
"""So for all that are told apart: 8840 rows on a day of flood, beside those of kinds alone."""
MAX_REMEMBERED: Final = 500
MAX_WITH_ENDS: Final = 500
"""Batches on disk; beyond, associations' ends wait in memory, for they come every second."""
MAX_ENDED: Final = 10_000
"""Associations that ended and are not written yet; the oldest are forgotten, and never compared."""
LONGEST: Final = 64
"""Characters of a text."""
ASSOCIATION: Final = re.compile(r"[0-9a-f]{32}")
MOST: Final = 2**31
"""No column holds more."""
Key = tuple[str, str, str, str]
"""Kind, code, AE title, address."""


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """A security event of the listener, possibly many of the same. No patient data."""

    uuid: str
    """The same event may be read twice; its UUID stays."""
    at: str
    """ISO 8601, UTC: when the batch was written, at most a minute after the events."""
    kind: str
    """For example "association.rejected"."""
    code: str
    ae_title: str
    """As claimed by the peer, control characters replaced."""
    address: str
    count: int


@dataclass(frozen=True, slots=True)
class Ended:
    """An association's end. No patient data."""

    association: str
    """Its id, which is ours: 32 hexadecimal digits."""
    ae_title: str
    address: str
    accepted: int
    """So many instances were safe in the spool's ``in``, each before its sender was told."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events on disk that nobody has acknowledged."""

    path: Path
    events: tuple[JournalEvent, ...]
    ended: tuple[Ended, ...] = ()

    def done(self) -> None:
        """Forget the batch, after its rows are committed."""
        self.path.unlink(missing_ok=True)


@dataclass(slots=True)
class Bucket:
    """Permissions to write: some at once, one more after each pause."""

    left: float
    at: float

    def take(self, most: int, every_s: float, now: float) -> bool:
        """Take one, if there is one."""
        self.left = min(most, self.left + (now - self.at) / every_s)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Pace:
    """How often an event becomes a row: often enough to be seen, never enough to fill a disk."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._each: dict[Key, Bucket] = {}
        self._all = Bucket(ALL_AT_ONCE, clock())

    def due(self, counts: Counter[Key]) -> tuple[Counter[Key], Counter[Key]]:
        """Sort counts into those to write now and those to go on counting.

        What would be too much to tell apart is written by its kind alone.
        """
        now = self._clock()
        written, kept, kinds = Counter[Key](), Counter[Key](), Counter[Key]()
        for key, count in counts.items():
            if not any(key[1:]):
                kinds[key] += count
            elif not self._may(key, now):
                kept[key] += count
            elif self._all.take(ALL_AT_ONCE, ALL_EVERY_S, now):
                written[key] += count
                self._remember(key, now)
            else:
                kinds[key[0], "", "", ""] += count
        for key, count in kinds.items():
            may = self._may(key, now)
            (written if may else kept)[key] += count
            if may:
                self._remember(key, now)
        return written, kept

    def _may(self, key: Key, now: float) -> bool:
        bucket = self._each.get(key)
        return bucket is None or bucket.take(EACH_AT_ONCE, EACH_EVERY_S, now)

    def _remember(self, key: Key, now: float) -> None:
        """Note that an event was written, and forget those that are as good as new."""
        self._each.setdefault(key, Bucket(EACH_AT_ONCE - 1, now))
        if len(self._each) > MAX_REMEMBERED:
            rested = EACH_AT_ONCE * EACH_EVERY_S
            self._each = {k: one for k, one in self._each.items() if now - one.at < rested}


class Journal:
    """Events are counted in memory and written as one immutable file of JSON lines a flush.

    So a flood costs one fsync a second, and writer and reader need no lock. What a flush has
    written is never lost; a kill loses what was counted since.
    """

    def __init__(self, folder: Path, pace: Pace | None = None) -> None:
        self.folder = folder
        self._pace = pace or Pace()
        self._counts: Counter[Key] = Counter()
        self._ended: deque[Ended] = deque(maxlen=MAX_ENDED)
        self._lock = threading.Lock()

    def note(self, kind: str, *, code: str = "", ae_title: str = "", address: str = "") -> None:
        """Count one event. Cheap, never blocks on the disk, never raises."""
        key = (kind, _clean(code), _clean(ae_title), _clean(address))
        with self._lock:
            if key not in self._counts and len(self._counts) >= MAX_KEYS:
                key = (kind, "", "", "")
            self._counts[key] += 1

    def end(self, association: str, ae_title: str, address: str, accepted: int) -> None:
        """Take an association's end, as cheaply; one that brought nothing is not compared."""
        if accepted:
            one = Ended(association, _clean(ae_title), _clean(address), accepted)
            with self._lock:
                self._ended.append(one)

    def flush(self, *, last: bool = False) -> list[JournalEvent]:
        """Write what is due of what was counted, and give it; the last time, all of it.

        Raises:
            OSError: nothing was written, and the counts are kept for the next time.
        """
        with self._lock:
            counts, self._counts = self._counts, Counter()
            ended, self._ended = list(self._ended), deque(maxlen=MAX_ENDED)
        kept, left = counts, ended
        try:
            due, told, later, wait = self._sorted(counts, ended, last=last)
            events = self._write(due, told) if due or told else []
            kept, left = later, wait
            return events
        finally:
            with self._lock:
                self._counts.update(kept)
                self._ended = deque((*left, *self._ended), maxlen=MAX_ENDED)

    def _sorted(
        self, counts: Counter[Key], ended: list[Ended], *, last: bool
    ) -> tuple[Counter[Key], list[Ended], Counter[Key], list[Ended]]:
        """Sort what was counted and what ended into what to write now, and what waits."""
        if last or not (counts or ended):
            return counts, ended, Counter(), []
        batches = len(self.waiting())
        due, later = self._pace.due(counts) if batches < MAX_BATCHES else (Counter[Key](), counts)
        return (due, ended, later, []) if batches < MAX_WITH_ENDS else (due, [], later, ended)

    def batches(self) -> Iterator[Batch]:
        """Give the batches on disk, oldest first."""
        for path in self.waiting():
            yield self.read(path)

    def waiting(self) -> list[Path]:
        """Give where the batches on disk are, oldest first."""
        return sorted(self.folder.glob("*.jsonl"))

    def read(self, path: Path) -> Batch:
        """Read one batch; a line that is damaged is an event of its own.

        Raises:
            OSError: the disk does not give it now.
        """
        lines = path.read_bytes().decode(errors="backslashreplace").splitlines()
        told = [_ended(line) or _event(path, line) for line in lines]
        return Batch(
            path,
            tuple(one for one in told if isinstance(one, JournalEvent)),
            tuple(one for one in told if isinstance(one, Ended)),
        )

    def _write(self, counts: Counter[Key], ended: list[Ended]) -> list[JournalEvent]:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        events = [JournalEvent(str(uuid.uuid4()), at, *key, n) for key, n in counts.items()]
        told: list[JournalEvent | Ended] = [*events, *ended]
        lines = "".join(json.dumps(asdict(one)) + "\n" for one in told)
        name = f"{os.getpid()}-{start_ticks(os.getpid())}-{time_ordered_uuid()}"
        draft = self.folder / f"{name}.part"
        try:
            write_synced(draft, (lines.encode(),))
            draft.rename(self.folder / f"{name.rpartition('-')[2]}.jsonl")
            sync_folder(self.folder)
        finally:
            draft.unlink(missing_ok=True)
        return events


def _ended(line: str) -> Ended | None:
    """Read an association's end; None where the line is something else, or damaged."""
    with suppress(ValueError, TypeError, RecursionError):
        one = Ended(**json.loads(line))
        texts = (one.association, one.ae_title, one.address)
        is_ours = all(isinstance(text, str) and text.isprintable() for text in texts)
        is_ours = is_ours and max(map(len, texts)) <= LONGEST and type(one.accepted) is int
        if is_ours and ASSOCIATION.fullmatch(one.association) and 0 < one.accepted < MOST:
            return one
    return None


def _event(path: Path, line: str) -> JournalEvent:
    with suppress(ValueError, TypeError, RecursionError):
        event = JournalEvent(**json.loads(line))
        if _is_ours(event):
            return event
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{path.name}:{line}"))
    return JournalEvent(name, "", "journal.damaged", "", "", "", 1)


def _is_ours(event: JournalEvent) -> bool:
    """Tell whether it is as ``Journal.flush`` writes them: short printable texts and a count."""
    facts = asdict(event)
    count = facts.pop("count")
    return (
        type(count) is int
        and all(
            isinstance(one, str) and len(one) <= LONGEST and one.isprintable()
            for one in facts.values()
        )
        and len(event.uuid) == len(str(uuid.NAMESPACE_URL))
    )


def _clean(text: str) -> str:
    return "".join(one if " " <= one <= "~" else "?" for one in text[:LONGEST])
