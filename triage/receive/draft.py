"""A new file in the spool that a message is written to as it comes, piece by piece."""

import fcntl
import mmap
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from triage.durable import write_all
from triage.receive.stage import Stage
from triage.sealed import AROUND_THE_CACHE, BLOCK_BYTES, CANNOT
from triage.spool import Spool


class Draft:
    """A file that nobody sees yet, written around the page cache where that can be.

    What comes would fill the cache for nobody, and copying it there is half of the work. Instead a
    thread waits for the disk while the next piece comes.
    """

    def __init__(self, spool: Spool) -> None:
        """Make the file.

        Raises:
            OSError: it cannot be made.
        """
        self._spool = spool
        self._descriptor, self._path = spool.draft()
        self._flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        self._set(AROUND_THE_CACHE)
        self._first = b""
        self._writer: _Writer | None = None
        self._under_way: Stage | None = None
        self._map: mmap.mmap | None = None
        self._view: memoryview | None = None

    def append(self, stage: Stage) -> Stage:
        """Begin to write what is in memory; gives memory to go on in.

        Raises:
            OSError: the disk refused what came before.
        """
        self._wait()
        blocks, rest = stage.split()
        self._first = self._first or bytes(blocks[:BLOCK_BYTES])
        if self._writer is None:
            self._writer = _Writer(self._write)
        self._under_way = stage
        self._writer.write(blocks)
        return Stage(rest)

    def finish(self, stage: Stage) -> None:
        """Write the last of it; when this returns, all is written, and nothing is synced.

        Raises:
            OSError: the disk refuses.
        """
        self._wait()
        blocks, rest = stage.split()
        self._first = self._first or bytes(blocks[:BLOCK_BYTES])
        self._write(blocks)
        self._set(0)
        write_all(self._descriptor, rest)

    def content(self, start: int, *, in_order: bool) -> memoryview:
        """Give what was written from ``start`` on, until ``close``; ``finish`` was before.

        The disk reads ahead for who reads in order. For who skips what is long that would be for
        nothing, and take longer than all the rest.

        Raises:
            OSError: the disk does not give it.
        """
        if self._view is None:
            self._map = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
            self._map.madvise(mmap.MADV_SEQUENTIAL if in_order else mmap.MADV_RANDOM)
            self._view = memoryview(self._map)[start:]
        return self._view

    def put_header(self, header: bytes) -> None:
        """Write over the beginning; ``finish`` was before.

        Raises:
            OSError: the disk refuses.
        """
        os.pwrite(self._descriptor, header + self._first[len(header) :], 0)

    def admit(self, *, as_prior: bool) -> Path:
        """Let it wait in the spool, where no power cut loses it.

        Raises:
            OSError: it is not there.
        """
        path = self._spool.admit(self._descriptor, self._path, as_prior=as_prior)
        self._path = ""
        return path

    def close(self) -> None:
        """Let the disk go of what was not admitted."""
        with suppress(Exception):  # it was told, or nobody asks any more
            self._wait()
        if self._writer is not None:
            self._writer.stop()
        with suppress(BufferError):  # a traceback may still look at it; it goes with that
            if self._view is not None:
                self._view.release()
            if self._map is not None:
                self._map.close()
        self._map = self._view = self._writer = None
        descriptor, self._descriptor = self._descriptor, -1
        path, self._path = self._path, ""
        with suppress(OSError):
            os.close(descriptor)
        if path:
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - it is a text

    def _wait(self) -> None:
        """Wait for the piece that is being written; its memory is free then."""
        stage, self._under_way = self._under_way, None
        if stage is not None and self._writer is not None:
            try:
                self._writer.wait()
            finally:
                stage.let_go()

    def _write(self, blocks: memoryview) -> None:
        """Write on, and through the page cache where the file system cannot do otherwise."""
        start = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        try:
            write_all(self._descriptor, blocks)
        except OSError as why:
            if why.errno not in CANNOT:
                raise
            self._set(0)
            done = os.lseek(self._descriptor, 0, os.SEEK_CUR) - start
            write_all(self._descriptor, blocks[done:])

    def _set(self, flag: int) -> None:
        """Have writes go around the page cache, where the file system can, or through it."""
        with suppress(OSError):
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, self._flags | flag)


class _Writer:
    """A thread that writes to a file, a piece at a time; without one it is done at once."""

    def __init__(self, write: Callable[[memoryview], None]) -> None:
        self._write = write
        self._pieces: SimpleQueue[memoryview | None] = SimpleQueue()
        self._results: SimpleQueue[BaseException | None] = SimpleQueue()
        self._is_running = False
        with suppress(RuntimeError):  # the system has no more threads
            threading.Thread(target=self._run, daemon=True).start()
            self._is_running = True

    def write(self, piece: memoryview) -> None:
        """Begin to write; ``wait`` is to follow before the next."""
        if self._is_running:
            self._pieces.put(piece)
        else:
            self._results.put(self._written(piece))

    def wait(self) -> None:
        """Wait until it is written.

        Raises:
            OSError: the disk refuses.
        """
        why = self._results.get()
        if why is not None:
            raise why

    def stop(self) -> None:
        """Let the thread end."""
        self._pieces.put(None)

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._results.put(self._written(piece))

    def _written(self, piece: memoryview) -> BaseException | None:
        try:
            self._write(piece)
        except BaseException as why:  # noqa: BLE001 - whoever waits is told, whatever it is
            return why
        return None
