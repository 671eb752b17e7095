"""Places for associations: so many in all, so many for one address, counted over all processes."""

import fcntl
import hashlib
import mmap
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct
from typing import Final

from triage.settings import Listener as Limits

ENTRY: Final = Struct("<I12s")
"""The process that holds a place, 0 for none, and whom it serves, as the head of a digest."""


class Slots:
    """One table of places, shared with every process that is forked after it was made.

    A process that dies without giving its places back has them taken from it by ``forget``; the
    table's lock is the kernel's, and goes with its holder.
    """

    def __init__(self, limits: Limits) -> None:
        """Make an empty table."""
        self._limits = limits
        self._table = mmap.mmap(-1, limits.max_associations * ENTRY.size)
        self._file, name = tempfile.mkstemp()
        os.unlink(name)  # noqa: PTH108 - it is only there to be locked
        weakref.finalize(self, os.close, self._file)
        self._lock = threading.Lock()

    def take(self, address: str) -> bool:
        """Take a place if there is one."""
        whom = _digest(address)
        with self._locked():
            free = -1
            same = 0
            for place, (holder, served) in enumerate(ENTRY.iter_unpack(self._table)):
                if not holder:
                    free = place
                elif served == whom:
                    same += 1
            if free < 0 or same >= self._limits.max_associations_per_address:
                return False
            ENTRY.pack_into(self._table, free * ENTRY.size, os.getpid(), whom)
            return True

    def give(self, address: str) -> None:
        """Give a place of this process back."""
        mine = os.getpid(), _digest(address)
        with self._locked():
            for place, entry in enumerate(ENTRY.iter_unpack(self._table)):
                if entry == mine:
                    ENTRY.pack_into(self._table, place * ENTRY.size, 0, b"")
                    return

    def forget(self, process: int) -> None:
        """Free the places of a process that has ended."""
        with self._locked():
            for place, (holder, _) in enumerate(ENTRY.iter_unpack(self._table)):
                if holder == process:
                    ENTRY.pack_into(self._table, place * ENTRY.size, 0, b"")

    @property
    def taken(self) -> int:
        """Give how many places this process holds."""
        mine = os.getpid()
        with self._locked():
            return sum(holder == mine for holder, _ in ENTRY.iter_unpack(self._table))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)


def _digest(address: str) -> bytes:
    return hashlib.blake2b(address.encode(), digest_size=12).digest()
