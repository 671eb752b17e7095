"""What is in a file made ready: blank, or a whole content with a seal, or neither.

A blank one says its own name again and again, in each sector. What is written over it is followed
by a seal. So after a power cut each sector tells whether it was written, and the seal where the
content ends: no checksum is needed. (A disk writes a sector whole or not.)

That it is blank is told without reading it by its modification time: one that no clock gives, and
another one after each start of the listener, which reads them all. So a file whose time a power cut
took back, or that could not be read, is nobody's to take.
"""

import mmap
import os
import secrets
from errno import EINVAL, EOPNOTSUPP
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

BLOCK_BYTES: Final = 4096
"""No disk wants to be written around the page cache in larger pieces."""
HOLDS_BYTES: Final = 640 * 1024
"""A CT or MR image of 512 x 512 pixels of 16 bits and its header; what is larger does not fit."""
FILE_BYTES: Final = HOLDS_BYTES + BLOCK_BYTES
SECTOR_BYTES: Final = 512
NAME_BYTES: Final = 32
"""Of a file's UUID in hexadecimal, which nobody outside knows and no content repeats."""
SEAL: Final = Struct("<16s32sQ")
"""This is a seal, of this file, and so many bytes are before it; its block ends in zeros."""
MAGIC: Final = b"triage, whole\0\0\1"
PREFIX: Final = bytes(128) + b"DICM"
"""How each content begins (PS3.10 7.1), and no blank file."""
AROUND_THE_CACHE: Final = getattr(os, "O_DIRECT", 0)
SYNCED: Final = getattr(os, "RWF_DSYNC", 0)
CANNOT: Final = frozenset((EINVAL, EOPNOTSUPP))
"""What a file system answers that does not write around the cache, or not at once to the disk."""
OLDEST_S: Final = 946_684_800
"""The year 2000: blank files are older."""


class Content(NamedTuple):
    """What goes into a file, at the start of a buffer of ``FILE_BYTES`` that begins on a page."""

    buffer: mmap.mmap | memoryview
    length: int


BLANK_S: Final = 1 + secrets.randbelow(OLDEST_S - 1)
"""Modification time of a blank file, in seconds since 1970, for this process and its forks."""


def is_blank(facts: os.stat_result) -> bool:
    """Tell whether a file is known to be blank, and still has a name."""
    return facts.st_mtime_ns == BLANK_S * 10**9 and facts.st_nlink > 0


def call_blank(descriptor: int) -> None:
    """Let a file be known to be blank.

    Raises:
        OSError: the disk refuses.
    """
    os.utime(descriptor, (BLANK_S, BLANK_S))


def whole_bytes(path: str) -> int | None:
    """Give how many bytes of a file are an instance, by its seal; 0 if blank, None if in pieces.

    One that was cut to its content was whole before.

    Raises:
        OSError: it cannot be read.
    """
    content, name = Path(path).read_bytes(), name_of(path)
    if len(content) != FILE_BYTES:
        was_cut = len(content) < FILE_BYTES and content.startswith(PREFIX)
        return len(content) if was_cut else None
    is_blank = [content.startswith(name, at) for at in range(0, len(content), SECTOR_BYTES)]
    if all(is_blank):
        return 0
    end = len(content)
    while all(is_blank[(end - BLOCK_BYTES) // SECTOR_BYTES : end // SECTOR_BYTES]):
        end -= BLOCK_BYTES
    magic, whose, length = SEAL.unpack_from(content, end - BLOCK_BYTES)
    is_whole = not any(is_blank[: end // SECTOR_BYTES])
    if (magic, whose) != (MAGIC, name) or _end(length) != end - BLOCK_BYTES or not is_whole:
        return None
    return int(length)


def blank(path: str) -> bytes:
    """Give what a blank file of this name holds."""
    return name_of(path) * (FILE_BYTES // NAME_BYTES)


def seal(path: str, content: Content) -> memoryview:
    """Put the seal behind a content; gives all that is to be written."""
    end = _end(content.length)
    pad = bytes(end - content.length)  # of what the buffer held before, nothing stays
    sealed = SEAL.pack(MAGIC, name_of(path), content.length).ljust(BLOCK_BYTES, b"\0")
    content.buffer[content.length : end + BLOCK_BYTES] = pad + sealed
    return memoryview(content.buffer)[: end + BLOCK_BYTES]


def write_around(descriptor: int, content: memoryview | mmap.mmap, flags: int = SYNCED) -> None:
    """Write from a file's beginning around the page cache; with ``SYNCED`` it is safe then.

    One call for both: a thread that gives up the interpreter's lock twice waits twice for it.

    Raises:
        OSError: the disk refuses.
    """
    try:
        count = os.pwritev(descriptor, [content], 0, flags)
    except NotImplementedError:  # an older C library
        raise OSError(EOPNOTSUPP, "it cannot be written and synced in one") from None
    if count != len(content):
        msg = "the disk took a part"
        raise OSError(msg)


def name_of(path: str) -> bytes:
    """Give the UUID in a file's path."""
    return path[-NAME_BYTES - 4 : -4].encode()


def _end(length: int) -> int:
    return -(-length // BLOCK_BYTES) * BLOCK_BYTES
