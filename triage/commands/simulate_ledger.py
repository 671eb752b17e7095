"""The senders' own account of what was acknowledged, synced line by line: what nothing may lose."""

import json
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self


class Answer(StrEnum):
    """How one C-STORE ended."""

    STORED = "stored"
    REFUSED = "refused"
    """The receiver will never take it."""
    UNKNOWN = "unknown"
    """No answer, or "not now": the same was sent again, or will never be known."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One C-STORE and its answer."""

    study: str
    instance: str
    """SOP Instance UID."""
    sha256: str
    answer: Answer
    at: float
    """Seconds since the epoch, of the sender's clock, when the answer came."""


class Ledger:
    """Appends entries to a file and keeps them; senders in several threads share it."""

    def __init__(self, path: Path) -> None:
        self.entries: list[Entry] = []
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def note(self, study: str, instance: str, sha256: str, answer: Answer) -> None:
        """Write one answer down; when this returns, it is on the disk."""
        one = Entry(study, instance, sha256, answer, time.time())
        line = json.dumps(_as_json(one))
        with self._lock:
            self.entries.append(one)
            self._file.write(line + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def counts(self) -> dict[str, int]:
        """Give how many C-STOREs ended how."""
        with self._lock:
            found = Counter(one.answer for one in self.entries)
        return {str(answer): found[answer] for answer in Answer}

    def acknowledged(self) -> dict[tuple[str, str], float]:
        """Give each (SOP Instance UID, content) that was acknowledged, and when it first was."""
        first: dict[tuple[str, str], float] = {}
        with self._lock:
            for one in self.entries:
                if one.answer is Answer.STORED:
                    first.setdefault((one.instance, one.sha256), one.at)
        return first

    def last_new(self) -> dict[str, float]:
        """Give each study's last moment at which something new of it was acknowledged."""
        last: dict[str, float] = {}
        seen: set[tuple[str, str]] = set()
        with self._lock:
            for one in self.entries:
                if one.answer is Answer.STORED and (one.instance, one.sha256) not in seen:
                    seen.add((one.instance, one.sha256))
                    last[one.study] = max(one.at, last.get(one.study, 0.0))
        return last


def read(path: Path) -> list[Entry]:
    """Read a ledger back; a last line that a kill cut short is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(
                Entry(**{**(values := json.loads(line)), "answer": Answer(values["answer"])})
            )
        except (ValueError, TypeError, KeyError):
            break
    return found


def _as_json(one: Entry) -> dict[str, Any]:
    return {
        "study": one.study,
        "instance": one.instance,
        "sha256": one.sha256,
        "answer": str(one.answer),
        "at": one.at,
    }
