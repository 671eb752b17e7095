"""A data set on its way in, and judged there: held in memory, or streamed to a draft in the spool.

In memory is what fits into a file made ready, whether there is one or not, and of anything longer
the piece that is written next.
"""

from collections.abc import Callable
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING, Final

from triage.receive.draft import Draft
from triage.receive.pdu import Broken, Why
from triage.receive.stage import Stage
from triage.sealed import HOLDS_BYTES
from triage.spool import Spool

if TYPE_CHECKING:
    from triage.ready import Blank

LOOK_BYTES: Final = 16 * 2**20
"""The room on the disk is looked at when a message begins, and again after so much of it."""


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
        self._stage: Stage | None = None
        self._blank: Blank | None = None
        self._draft: Draft | None = None
        self._failed = False
        self._look_at = 0
        self.size = 0

    def place(self, count: int) -> memoryview | None:
        """Give where the next fragment may be put, to be written then; None where it is copied."""
        if self._failed or self.size + count > self._most_bytes:
            return None
        try:
            stage = self._look()
            return stage.place(count) or self._spill(stage).place(count)
        except OSError:
            self._fail()
        return None

    def write(self, fragment: memoryview) -> None:
        """Take one fragment, which may be in its place.

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

    def content(self, *, in_order: bool = False) -> memoryview:
        """Give the whole data set, without the header; it ends with ``close``.

        ``in_order`` is for who reads all of it, from the beginning.

        Raises:
            OSError: it did not fit on the disk.
        """
        if self._failed:
            raise OSError(ENOSPC, "no room for the message")
        if self._stage is None:
            return memoryview(b"")
        if self._draft is None:
            return self._stage.data()
        self._finish(self._draft)
        return self._draft.content(len(self._header), in_order=in_order)

    def keep(self, *, as_prior: bool = False) -> Path:
        """Let header and data set wait in the spool, where no power cut loses them.

        Raises:
            OSError: they are not there.
        """
        if self._failed:
            raise OSError(ENOSPC, "no room for the message")
        header = self._make_header()
        if self._draft is not None:
            self._finish(self._draft)
            if header and len(header) == len(self._header):
                self._draft.put_header(header)
            path = self._draft.admit(as_prior=as_prior)
        else:
            stage = self._look()
            stage.put_header(header)
            path = self._keep(stage, as_prior=as_prior)
        if len(header) + self.size <= HOLDS_BYTES and not as_prior:
            self._spool.ready.used()
        return path

    def close(self) -> None:
        """Let the disk go of what was not kept."""
        draft, self._draft = self._draft, None
        blank, self._blank = self._blank, None
        stage, self._stage = self._stage, None
        if draft is not None:
            draft.close()
        if blank is not None:
            self._spool.ready.give_back(blank)
        elif stage is not None and draft is None:
            self._spool.ready.claim()
        if stage is not None:
            stage.let_go()

    def _look(self) -> Stage:
        """Begin, and look now and then whether there is room."""
        if self.size >= self._look_at:
            self._look_at = self.size + LOOK_BYTES
            if not self._has_room():
                raise OSError(ENOSPC, "no room for the message")
        if self._stage is None:
            self._header = self._make_header()
            self._stage = Stage(self._header)
            if self._header:
                with suppress(OSError):  # whoever has none goes on without
                    self._blank = self._spool.ready.take()
        return self._stage

    def _write(self, fragment: memoryview) -> None:
        stage = self._look()
        fragment = fragment[stage.write(fragment) :]
        while fragment:
            stage = self._spill(stage)
            fragment = fragment[stage.write(fragment) :]

    def _spill(self, stage: Stage) -> Stage:
        """Let what is in memory be written to a draft; gives memory to go on in."""
        if self._draft is None:
            self._draft = Draft(self._spool)
            if self._blank is not None:
                self._spool.ready.give_back(self._blank)
                self._blank = None
        self._stage = None  # it is the draft's from here on
        self._stage = self._draft.append(stage)
        return self._stage

    def _finish(self, draft: Draft) -> None:
        if self._stage is not None:
            try:
                draft.finish(self._stage)
            except OSError:
                self._fail()
                raise
            self._stage.let_go()
            self._stage = None

    def _keep(self, stage: Stage, *, as_prior: bool) -> Path:
        """Write what was in memory alone."""
        if self._blank is not None and not as_prior:
            blank, self._blank = self._blank, None
            return self._spool.arrive(blank, stage.sealable())
        self._draft = Draft(self._spool)
        self._draft.finish(stage)
        return self._draft.admit(as_prior=as_prior)

    def _fail(self) -> None:
        self._failed = True
        self.close()
