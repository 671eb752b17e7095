"""A small data set on its way in, in memory, with a file made ready that it will be written to."""

import mmap
from contextlib import suppress
from typing import Final, Self

from triage.ready import FILE_BYTES, HOLDS_BYTES, Blank, Content, Ready

SPARE: Final = 8
"""Buffers that are kept for the next message; more are let go."""
_spare: Final[list[mmap.mmap]] = []


class Prepared:
    """Header and data set in a buffer, and the blank file."""

    def __init__(self, ready: Ready, blank: Blank, buffer: mmap.mmap, header: bytes) -> None:
        """Begin with the header; ``take`` gives one of these where there is a blank file."""
        self._ready = ready
        self._blank: Blank | None = blank
        self._buffer = buffer
        self._start = self._end = len(header)
        self._buffer[: self._start] = header

    @classmethod
    def take(cls, ready: Ready, header: bytes) -> Self | None:
        """Claim a file; None where there is none, or the header is none.

        Nor where the disk does not give it: whoever asks goes on without.
        """
        if not header or len(header) > HOLDS_BYTES:
            return None
        with suppress(OSError):
            buffer = _buffer()
            blank = ready.take()
            if blank is not None:
                return cls(ready, blank, buffer, header)
            _let_go(buffer)
        return None

    def has_room(self, count: int) -> bool:
        """Tell whether so many bytes more fit."""
        return self._end + count <= HOLDS_BYTES

    def write(self, fragment: memoryview) -> None:
        """Take a fragment that fits."""
        end = self._end + len(fragment)
        self._buffer[self._end : end] = fragment
        self._end = end

    def whole(self) -> memoryview:
        """Give header and data set, until ``close``."""
        return memoryview(self._buffer)[: self._end]

    def content(self) -> memoryview:
        """Give the data set, until ``close``."""
        return memoryview(self._buffer)[self._start : self._end]

    def hand_over(self, header: bytes) -> tuple[Blank, Content]:
        """Give the file and what belongs into it, behind a header as long as the first.

        Raises:
            OSError: it was given before.
        """
        if self._blank is None:
            msg = "it was written before"
            raise OSError(msg)
        if len(header) == self._start:
            self._buffer[: self._start] = header
        blank, self._blank = self._blank, None
        return blank, Content(self._buffer, self._end)

    def close(self) -> None:
        """Let go of the buffer, and of the file where nothing was written to it."""
        if self._blank is not None:
            self._ready.give_back(self._blank)
            self._blank = None
        else:
            self._ready.claim()
        _let_go(self._buffer)


def _buffer() -> mmap.mmap:
    try:
        return _spare.pop()
    except IndexError:
        return mmap.mmap(-1, FILE_BYTES)


def _let_go(buffer: mmap.mmap) -> None:
    if len(_spare) < SPARE:
        _spare.append(buffer)
