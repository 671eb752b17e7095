"""What the listener must remember to answer N-services: steps it knows, transactions it has taken.

The listener has no database, and several of its processes may share one spool: so a step is one
small file, read and replaced under a lock that the kernel lets go when its holder dies. Patients
are not kept here. Files that nobody has touched for a month are forgotten: a step is over by then.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from triage.spool import FOLDERS

KEEP_S: Final = 30 * 86_400.0
SWEEP_S: Final = 86_400.0


class Entry:
    """One remembered UID, locked."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes | None:
        """Give what is remembered; None where the UID is new."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def write(self, content: bytes) -> None:
        """Remember; when this returns, a power cut does not lose it.

        Raises:
            OSError: it is not remembered, and what was before still is.
        """
        draft = self._path.with_suffix(".part")
        try:
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self._path)
            _sync_folder(self._path.parent)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


class Ledger:
    """Files named by the digest of a UID: nothing a peer sends becomes part of a path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next_sweep = 0.0

    @contextmanager
    def entry(self, kind: str, uid: str) -> Iterator[Entry]:
        """Lock one UID of a kind against every thread and process, until the block ends.

        Raises:
            OSError: the folder cannot be written.
        """
        self._make()
        name = hashlib.sha256(f"{kind} {uid}".encode()).hexdigest()
        folder = self._folder / name[:2]
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Entry(folder / name)
        finally:
            os.close(descriptor)

    def _make(self) -> None:
        """Make the folders, and once a day forget what is old."""
        if time.monotonic() < self._next_sweep:
            return
        for folder in (self._folder / name for name in FOLDERS):
            if folder.is_dir():
                _sweep(folder)
            else:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self._folder, self._folder.parent):
            _sync_folder(folder)
        self._next_sweep = time.monotonic() + SWEEP_S


def _sweep(folder: Path) -> None:
    oldest = time.time() - KEEP_S
    for path in folder.iterdir():
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
