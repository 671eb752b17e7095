"""A data set on its way in: in memory while small, in a nameless file of the spool when large."""

import mmap
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from triage.receive.pdu import Broken, Why
from triage.spool import Bytes

SPILL_BYTES: Final = 16 * 2**20
"""Larger data sets go to disk as they come, so memory does not grow with what peers send."""


class Body:
    """Fragments of one message, put together.

    When the disk refuses, the rest is read and dropped, so that the peer can be told why. The
    file has no name: a kill at any moment leaves nothing to clean.
    """

    def __init__(self, folder: Path, most_bytes: int, has_room: Callable[[], bool]) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._has_room = has_room
        self._chunk = bytearray()
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._failed = False
        self.size = 0

    def write(self, fragment: memoryview) -> None:
        """Take one fragment.

        Raises:
            Broken: the message is longer than we take.
        """
        self.size += len(fragment)
        if self.size > self._most_bytes:
            raise Broken(Why.NOT_SPECIFIED, "sent a message beyond the limit")
        if self._failed:
            return
        self._chunk += fragment
        if len(self._chunk) >= SPILL_BYTES:
            self._spill()

    def content(self) -> Bytes:
        """Give the whole data set.

        Raises:
            OSError: it did not fit on the disk.
        """
        if self._file is not None and not self._failed:
            self._spill()
        if self._failed:
            msg = "no room for the message"
            raise OSError(msg)
        if self._file is None:
            return self._chunk
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map

    def close(self) -> None:
        """Let memory and disk go."""
        if self._map is not None:
            with suppress(BufferError):  # a traceback may still look at it; it goes with that
                self._map.close()
        if self._file is not None:
            self._file.close()
        self._chunk = bytearray()

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by close()
            left = memoryview(self._chunk) if self._has_room() else None
            while left:
                left = left[self._file.write(left) :]
            self._failed = left is None
        except OSError:
            self._failed = True
        if self._failed and self._file is not None:
            self._file.close()
        self._chunk = bytearray()
