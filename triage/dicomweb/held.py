"""A file on its way in by HTTP: in memory while small, in a nameless file of the spool when large.

Its own file header comes first and is replaced by ours, so unlike a C-STORE's data set it cannot
be written to its place at once. A kill at any moment leaves nothing to clean.
"""

import mmap
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from triage.errors import TriageError
from triage.spool import Bytes

SPILL_BYTES: Final = 16 * 2**20


class TooLarge(TriageError):
    """An instance, or the request, is beyond a limit. What was stored before it is stored."""


class Held:
    """The bytes of one part.

    When the disk refuses, the rest is read and dropped, so that the sender can be told why.
    """

    def __init__(self, folder: Path, most_bytes: int, has_room: Callable[[], bool]) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._has_room = has_room
        self._chunk = bytearray()
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._failed = False
        self._size = 0

    def write(self, fragment: memoryview) -> None:
        """Take some bytes.

        Raises:
            TooLarge: there are more than we take.
        """
        self._size += len(fragment)
        if self._size > self._most_bytes:
            msg = "an instance is larger than listener.max_instance_bytes"
            raise TooLarge(msg)
        if self._failed:
            return
        self._chunk += fragment
        if len(self._chunk) >= SPILL_BYTES:
            self._spill()

    def content(self) -> Bytes:
        """Give all of them.

        Raises:
            OSError: they did not fit on the disk.
        """
        if self._file is not None and not self._failed:
            self._spill()
        if self._failed:
            msg = "no room for the instance"
            raise OSError(msg)
        if self._file is None:
            return self._chunk
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map

    def close(self) -> None:
        """Let memory and disk go; nobody may look at the content any more."""
        if self._map is not None:
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
        self._chunk = bytearray()
