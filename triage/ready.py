"""Files made ready: written, named and synced before anything comes for them.

What is written over such a file is safe after one write and one sync: its size, its blocks and its
name are on the disk already, so no journal is committed. A blank one says its own name again and
again, in each sector. So after a power cut each sector tells whether it was written, and a seal
behind the content where it ends: no checksum is needed. (A disk writes a sector whole or not.)

``ready/<uuid>.dcm`` is blank and anybody's, ``ready/<pid>-<ticks>-<uuid>.dcm`` is somebody's. A
filled one moves to ``in`` as ``<uuid>-<bytes>.dcm`` before its sender is answered. That name needs
no sync: a power cut may take the file back to ``ready``, where ``recover`` finds it. Who takes it
from ``in`` cuts it to its length, which would cost the sender more than all the rest.
"""

import fcntl
import mmap
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, EOPNOTSUPP
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from triage.durable import is_alive, sync_folder, time_ordered_uuid

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
QUIET_S: Final = 2.0
"""So long nothing must have come before files are made."""
BATCH: Final = 16
AT_ONCE_S: Final = 0.1
"""Of each call: the disk is left to others in between."""
SETTLED_NS: Final = 1_000_000_000
AROUND_THE_CACHE: Final = getattr(os, "O_DIRECT", 0)
SYNCED: Final = getattr(os, "RWF_DSYNC", 0)
CANNOT: Final = frozenset((EINVAL, EOPNOTSUPP))
"""What a file system answers that does not write around the cache, or not at once to the disk."""


class Blank(NamedTuple):
    """A file that is this process's to fill."""

    descriptor: int
    path: str


class Content(NamedTuple):
    """What goes into a file, at the start of a buffer of ``FILE_BYTES`` that begins on a page."""

    buffer: mmap.mmap
    length: int


class Recovered(NamedTuple):
    """What was found after a power cut or a kill."""

    kept: int
    unreadable: list[tuple[str, int | None]]
    """Name and error number of each that may hold an instance and could not be read."""


class Ready:
    """The files of one spool that are made ready."""

    def __init__(self, folder: Path, owner: str, *, is_on: bool) -> None:
        """Use the folder if it is there; off, or without it, there is never a file to take."""
        self._folder = str(folder)
        self._mine = f"{folder}/{owner}-"
        self._may = is_on and bool(AROUND_THE_CACHE and SYNCED)
        is_ours = folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK)
        self._is_on = self._may and is_ours
        self._names: list[str] = []
        self._claimed: list[Blank] = []
        self._empty_since = -1
        self._due = 0
        self._last = 0.0

    def open(self) -> None:
        """Make the folder.

        Raises:
            OSError: it cannot be made, or is somebody else's: where each service has a user of its
                own, the administrator makes it.
        """
        if self._may and not self._is_on:
            folder = Path(self._folder)
            folder.mkdir(mode=0o700)
            sync_folder(folder.parent)
            self._is_on = True

    def take(self) -> Blank | None:
        """Give a blank file that is nobody else's; None where there is none.

        Raises:
            OSError: the disk does not answer, or no more files can be opened.
        """
        while self._is_on:
            with suppress(IndexError):  # another thread may be faster, here and below
                return self._claimed.pop()
            if not self._names and not self._look():
                break
            with suppress(FileNotFoundError, IndexError):
                return self._claim(self._names.pop())
        return None

    def _claim(self, name: str) -> Blank:
        mine = f"{self._mine}{name}"
        os.rename(f"{self._folder}/{name}", mine)  # noqa: PTH104 - it is a text, here and below
        try:
            return Blank(os.open(mine, os.O_RDWR | os.O_CLOEXEC | AROUND_THE_CACHE), mine)
        except OSError:
            os.unlink(mine)  # noqa: PTH108
            raise

    def give_back(self, blank: Blank) -> None:
        """Keep for the next message a file that was not written to."""
        self._claimed.append(blank)

    def claim(self) -> None:
        """Have a file for the next message; for when its sender was answered."""
        if not self._claimed:
            with suppress(OSError):
                blank = self.take()
                if blank is not None:
                    self._claimed.append(blank)

    def fill(self, blank: Blank, content: Content) -> None:
        """Write a content and its seal; when this returns, a power cut does not lose it.

        Raises:
            OSError: the disk refuses; the file is good for nothing any more.
        """
        end = _end(content.length)
        pad = bytes(end - content.length)  # of what the buffer held before, nothing stays
        seal = SEAL.pack(MAGIC, _name(blank.path), content.length).ljust(BLOCK_BYTES, b"\0")
        content.buffer[content.length : end + BLOCK_BYTES] = pad + seal
        with memoryview(content.buffer)[: end + BLOCK_BYTES] as whole:
            _write_around(blank.descriptor, whole)

    def used(self) -> None:
        """Tell that something came which had, or would have had, its place in such a file."""
        self._due += 1
        self._last = time.monotonic()

    def renew(self, most: int, has_room: Callable[[], bool]) -> int:
        """Make as many as were used, up to ``most`` in all, once it is quiet; gives how many.

        Without room those that are there make some.

        Raises:
            OSError: the disk does not make them.
        """
        if not has_room():
            self.drop(0)
            return 0
        if not self._is_on or not self._due or time.monotonic() - self._last < QUIET_S:
            return 0
        due, self._due = self._due, 0  # what cannot be made waits until something comes again
        with _alone(self._folder) as is_alone:
            if not is_alone:
                self._due += due
                return 0
            wanted = max(0, min(due, most - self._count()))
            left = self._renew(wanted, has_room)
        self._due += left
        return wanted - left

    def _renew(self, due: int, has_room: Callable[[], bool]) -> int:
        """Make so many for a while; gives how many are left to make."""
        until = time.monotonic() + AT_ONCE_S
        try:
            while due > 0 and time.monotonic() < until and has_room():
                due -= self._make(min(due, BATCH))
        except OSError as why:
            self._is_on = self._is_on and why.errno not in CANNOT
            raise
        return due

    def _count(self) -> int:
        return len(os.listdir(self._folder))  # noqa: PTH208

    def drop(self, most: int) -> None:
        """Remove blank files, but for so many; where there may be none, all of them.

        Those that wait in this process for the next message go, too, unless any may stay.

        Raises:
            OSError: the disk does not answer.
        """
        keep = most if self._is_on else 0
        paths = [f"{self._folder}/{name}" for name in self._blanks()[keep:]]
        while not keep and self._claimed:
            with suppress(IndexError):
                blank = self._claimed.pop()
                os.close(blank.descriptor)
                paths.append(blank.path)
        for path in paths:
            with suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108

    def recover(self, keep: Callable[[str, int], None], *, after_all: bool) -> Recovered:
        """Give what is whole in files of the dead to ``keep``, with its length.

        ``after_all`` is for the start: then whatever is whole is kept, whosever it seems to be, for
        process ids come again after a power cut. A claimed file is never handed to anybody else: if
        its owner lives after all, it cannot name it any more and refuses its message.

        Raises:
            OSError: the folder cannot be read.
        """
        kept, unreadable = 0, []
        for name in self._all():
            owner = name.rpartition("-")[0]
            if not after_all and (not owner or is_alive(owner)):
                continue
            path = f"{self._folder}/{name}"
            try:
                length = whole_bytes(path)
                if length:
                    keep(path, length)
                    kept += 1
                elif owner or length is None:
                    os.unlink(path)  # noqa: PTH108
            except FileNotFoundError:
                continue
            except OSError as why:
                unreadable.append((name, why.errno))
        return Recovered(kept, unreadable)

    def _look(self) -> bool:
        """List the blank files; tells whether there were any."""
        modified = os.stat(self._folder).st_mtime_ns  # noqa: PTH116
        if modified == self._empty_since:
            return False
        names = self._blanks()
        random.shuffle(names)  # so that two processes seldom want the same
        if not names and time.time_ns() - modified > SETTLED_NS:
            self._empty_since = modified
        self._names = names
        return bool(names)

    def _blanks(self) -> list[str]:
        return [name for name in self._all() if "-" not in name]

    def _all(self) -> list[str]:
        try:
            return os.listdir(self._folder)  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _make(self, count: int) -> int:
        """Make files under our own name, and let others have them when names and bytes are safe."""
        paths = [f"{self._mine}{time_ordered_uuid()}.dcm" for _ in range(count)]
        try:
            with mmap.mmap(-1, FILE_BYTES) as blank:
                for path in paths:
                    blank[:] = _name(path) * (FILE_BYTES // NAME_BYTES)
                    _write_new(path, blank)
            sync_folder(self._folder)
            for path in paths:
                os.rename(path, f"{self._folder}/{path.rpartition('-')[2]}")  # noqa: PTH104
        except BaseException:
            for path in paths:
                with suppress(OSError):
                    os.unlink(path)  # noqa: PTH108
            raise
        return count


def whole_bytes(path: str) -> int | None:
    """Give how many bytes of a file are an instance, by its seal; 0 if blank, None if in pieces.

    Raises:
        OSError: it cannot be read.
    """
    content, name = Path(path).read_bytes(), _name(path)
    if not content or len(content) % BLOCK_BYTES:
        return None
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


def _name(path: str) -> bytes:
    return path[-NAME_BYTES - 4 : -4].encode()


def _write_new(path: str, content: mmap.mmap) -> None:
    """Make a file, safe on the disk; its name is not yet."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | AROUND_THE_CACHE
    descriptor = os.open(path, flags, 0o600)
    try:
        _write_around(descriptor, content)
    finally:
        os.close(descriptor)


def _write_around(descriptor: int, content: memoryview | mmap.mmap) -> None:
    """Write from a file's beginning; when this returns, what was written is safe on the disk.

    One call for both: a thread that gives up the interpreter's lock twice waits twice for it.
    """
    try:
        count = os.pwritev(descriptor, [content], 0, SYNCED)
    except NotImplementedError:  # an older C library
        raise OSError(EOPNOTSUPP, "it cannot be written and synced in one") from None
    if count != len(content):
        msg = "the disk took a part"
        raise OSError(msg)


def _end(length: int) -> int:
    return -(-length // BLOCK_BYTES) * BLOCK_BYTES


@contextmanager
def _alone(folder: str) -> Iterator[bool]:
    """Tell whether no other process makes files in a folder now, and keep them from it if so."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_alone = False
        else:
            is_alone = True
        yield is_alone
    finally:
        os.close(descriptor)
