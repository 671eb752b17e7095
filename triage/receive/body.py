"""A data set on its way in, and judged there: streamed to a draft in the spool, or held in memory.

In memory is what fits into a file made ready, as long as there are such files; of anything else no
more than one PDU, whatever its size and however many come at once.
"""

import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from triage.durable import flush_range, write_all
from triage.ready import HOLDS_BYTES
from triage.receive.pdu import Broken, Why
from triage.receive.prepared import Prepared
from triage.spool import Spool

LOOK_BYTES: Final = 16 * 2**20
"""The room on the disk is looked at when a message begins, and again after so much of it."""
FLUSH_BYTES: Final = 2 * 2**20
"""So much is handed to the disk at a time while more comes, so that the sync has little to wait
for. Smaller ones are written by the sync alone."""


class Body:
    """Fragments of one message, put together behind a file header.

    When the disk refuses, the rest is read and dropped, so that the peer can be told why.
    """

    def __init__(
        self,
        spool: Spool,
        most_bytes: int,
        has_room: Callable[[], bool],
        header: Callable[[], bytes] = bytes,
    ) -> None:
        """Write nothing yet. ``header`` is asked again at the end, for it tells the time."""
        self._spool = spool
        self._most_bytes = most_bytes
        self._has_room = has_room
        self._make_header = header
        self._header = b""
        self._descriptor = -1
        self._draft = ""
        self._prepared: Prepared | None = None
        self._map: mmap.mmap | None = None
        self._view: memoryview | None = None
        self._failed = False
        self._look_at = 0
        self._flushed = 0
        self.size = 0

    def write(self, fragment: memoryview) -> None:
        """Take one fragment.

        Raises:
            Broken: the message is longer than we take.
        """
        if self.size + len(fragment) > self._most_bytes:
            raise Broken(Why.NOT_SPECIFIED, "sent a message beyond the limit")
        if not self._failed:
            try:
                self._write(fragment)
            except OSError:
                self._fail()
        self.size += len(fragment)

    def content(self) -> memoryview:
        """Give the whole data set, without the header; it ends with ``close``.

        Raises:
            OSError: it did not fit on the disk.
        """
        if self._failed:
            msg = "no room for the message"
            raise OSError(msg)
        if self._prepared is not None:
            return self._prepared.content()
        if self._view is None:
            if not self.size:
                return memoryview(b"")
            self._map = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
            self._view = memoryview(self._map)[len(self._header) :]
        return self._view

    def keep(self, *, as_prior: bool = False) -> Path:
        """Let header and data set wait in the spool, where no power cut loses them.

        Raises:
            OSError: they are not there.
        """
        header = self._make_header()
        if self._prepared is not None and as_prior:
            self._spill(self._prepared)
        if self._prepared is not None:
            path = self._spool.arrive(*self._prepared.hand_over(header))
        else:
            if header and len(header) == len(self._header):
                os.pwrite(self._descriptor, header, 0)
            path = self._spool.admit(self._descriptor, self._draft, as_prior=as_prior)
            self._draft = ""
        if len(header) + self.size <= HOLDS_BYTES and not as_prior:
            self._spool.ready.used()
        return path

    def close(self) -> None:
        """Let the disk go of what was not kept."""
        with suppress(BufferError):  # a traceback may still look at it; it goes with that
            if self._view is not None:
                self._view.release()
            if self._map is not None:
                self._map.close()
        self._map = self._view = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._draft:
            with suppress(OSError):
                os.unlink(self._draft)  # noqa: PTH108 - it is a text
            self._draft = ""
        if self._prepared is not None:
            with suppress(OSError):
                self._prepared.close()
            self._prepared = None

    def _write(self, fragment: memoryview) -> None:
        if self.size >= self._look_at:
            self._look_at = self.size + LOOK_BYTES
            if not self._has_room():
                self._fail()
                return
        if self._descriptor < 0 and self._prepared is None:
            self._begin()
        if self._prepared is not None:
            if self._prepared.has_room(len(fragment)):
                self._prepared.write(fragment)
                return
            self._spill(self._prepared)
        write_all(self._descriptor, fragment)
        if self.size - self._flushed >= FLUSH_BYTES:
            flush_range(self._descriptor, self._flushed, self.size - self._flushed)
            self._flushed = self.size

    def _begin(self) -> None:
        self._header = self._make_header()
        self._prepared = Prepared.take(self._spool.ready, self._header)
        if self._prepared is None:
            self._descriptor, self._draft = self._spool.draft()
            write_all(self._descriptor, self._header)

    def _spill(self, prepared: Prepared) -> None:
        """Go on in a draft."""
        self._descriptor, self._draft = self._spool.draft()
        write_all(self._descriptor, prepared.whole())
        self._prepared = None
        prepared.close()

    def _fail(self) -> None:
        self._failed = True
        self.close()
