"""Memory that a message is collected in, as the disk wants it, before it is written."""

import ctypes
import mmap
from contextlib import suppress
from typing import Final

from triage.sealed import BLOCK_BYTES, FILE_BYTES, HOLDS_BYTES, Content

HUGE_PAGE_BYTES: Final = 2 * 2**20
"""One of these is one piece for the disk, where the small ones are 160."""
SPARE: Final = 8
"""Memories that are kept for the next message; more are let go."""
_spare: Final[list[memoryview]] = []


class Stage:
    """Room for ``HOLDS_BYTES``, and for what closes them in a file made ready."""

    def __init__(self, header: bytes) -> None:
        """Begin with the header.

        Raises:
            OSError: there is no memory.
        """
        self._memory = _take()
        self._start = self._end = len(header)
        self._memory[: self._start] = header
        self._place: memoryview | None = None

    def place(self, count: int) -> memoryview | None:
        """Give where the next so many bytes belong; None where they do not fit."""
        if self._end + count > HOLDS_BYTES:
            return None
        self._place = self._memory[self._end : self._end + count]
        return self._place

    def write(self, fragment: memoryview) -> int:
        """Take what fits of a fragment, which may be in its place; gives how many bytes."""
        count = min(len(fragment), HOLDS_BYTES - self._end)
        if fragment is not self._place:
            self._memory[self._end : self._end + count] = fragment[:count]
        self._place = None
        self._end += count
        return count

    def put_header(self, header: bytes) -> None:
        """Replace the header by one as long; any other is left."""
        if len(header) == self._start:
            self._memory[: self._start] = header

    def data(self) -> memoryview:
        """Give what is behind the header, until ``let_go``."""
        return self._memory[self._start : self._end]

    def sealable(self) -> Content:
        """Give it all for a file made ready."""
        return Content(self._memory, self._end)

    def split(self) -> tuple[memoryview, bytes]:
        """Give all whole blocks, until ``let_go``, and what is behind them."""
        blocks = self._end - self._end % BLOCK_BYTES
        return self._memory[:blocks], bytes(self._memory[blocks : self._end])

    def let_go(self) -> None:
        """Leave the memory to the next message."""
        if len(_spare) < SPARE:
            _spare.append(self._memory)


def _take() -> memoryview:
    with suppress(IndexError):
        return _spare.pop()
    first, *more = _cut(_huge_page())
    _spare.extend(more)
    return first


def _cut(page: memoryview) -> list[memoryview]:
    return [page[at : at + FILE_BYTES] for at in range(0, len(page) - FILE_BYTES + 1, FILE_BYTES)]


def _huge_page() -> memoryview:
    """Give memory that is one huge page where the system has such, and begins on a small one."""
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = mmap.mmap(-1, 2 * HUGE_PAGE_BYTES, flags=private)
    with suppress(OSError, AttributeError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % HUGE_PAGE_BYTES
    return memoryview(memory)[start : start + HUGE_PAGE_BYTES]
