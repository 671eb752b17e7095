"""Files made ready: written, named and synced before anything comes for them.

What is written over such a file is safe after one write and one sync: its size, its blocks and its
name are on the disk already. ``triage.sealed`` says what is in it.

``ready/<uuid>.dcm`` is whoever's has the lock on it. A filled one gets a second name, in ``in``,
before its sender is answered. That name needs no sync, for the first one stays until the second is
safe: ``tidy`` takes it away in a quiet moment. After a power cut the second may be missing, and
``recover`` gives it again. Who takes the file from ``in`` cuts it to its length, which would cost
the sender more than all the rest.
"""

import fcntl
import mmap
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from triage.durable import Disk, sync_folder, time_ordered_uuid
from triage.sealed import (
    AROUND_THE_CACHE,
    CANNOT,
    FILE_BYTES,
    SYNCED,
    Content,
    blank,
    call_blank,
    is_blank,
    seal,
    whole_bytes,
    write_around,
)

QUIET_S: Final = 2.0
"""So long nothing must have come before files are made."""
BATCH: Final = 16
AT_ONCE_S: Final = 0.1
"""Of each call: the disk is left to others in between."""
TIDY_S: Final = 30.0
"""So long a first name stays at most where something comes all the time."""
LOOK_S: Final = 1.0
"""Where no file was found, none is looked for again so long."""


class Blank(NamedTuple):
    """A file that is this process's to fill: it holds the lock on it."""

    descriptor: int
    path: str


class Recovered(NamedTuple):
    """What was found after a power cut or a kill."""

    kept: int
    unreadable: list[tuple[str, int | None]]
    """Name and error number of each that may hold an instance and could not be read."""


class Ready:
    """The files of one spool that are made ready."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        """Use the folder if it is there; without it, or on a disk that cannot, there is no file."""
        self._folder = str(folder)
        self._may = disk.overwrites and bool(AROUND_THE_CACHE and SYNCED)
        self._is_flushed = disk.flushes
        self._flush = -1
        self._opening = threading.Lock()
        is_ours = folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK)
        self._is_on = self._may and is_ours
        self._names: list[str] = []
        self._claimed: list[Blank] = []
        self._filled: list[tuple[str, str, float]] = []
        self._look_at = 0.0
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
        if not self._is_on:
            return None
        found = self._next()
        if found is None and time.monotonic() >= self._look_at:
            self._names = self._blanks()
            random.shuffle(self._names)  # so that two processes seldom want the same
            found = self._next()
            if found is None:
                self._look_at = time.monotonic() + LOOK_S
        return found

    def _next(self) -> Blank | None:
        """Give the next of those that were seen which is nobody else's."""
        with suppress(IndexError):  # another thread may be faster, here and below
            return self._claimed.pop()
        while self._names:
            with suppress(FileNotFoundError, IndexError):
                claimed = _claim(f"{self._folder}/{self._names.pop()}")
                if claimed is not None:
                    return claimed
        return None

    def give_back(self, blank: Blank) -> None:
        """Keep for the next message a file that was not written to."""
        self._claimed.append(blank)

    def claim(self) -> None:
        """Have a file for the next message; for when its sender was answered."""
        if not self._claimed:
            with suppress(OSError):
                claimed = self.take()
                if claimed is not None:
                    self._claimed.append(claimed)

    def fill(self, blank: Blank, content: Content) -> None:
        """Write a content and its seal; when this returns, a power cut does not lose it.

        Raises:
            OSError: the disk refuses; the file is good for nothing any more.
        """
        with seal(blank.path, content) as whole:
            if not self._is_flushed:
                write_around(blank.descriptor, whole, SYNCED)
                return
            write_around(blank.descriptor, whole, 0)
        self._empty_cache()

    def _empty_cache(self) -> None:
        """Have the disk empty its write cache, and write nothing else.

        A sync of the file would also write when it was changed, which nobody needs: its blocks and
        its size are as they were.
        """
        with self._opening:
            if self._flush < 0:
                self._flush = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fdatasync(self._flush)

    def linked(self, blank: Blank, final: str) -> None:
        """Tell that a filled file has a second name."""
        self._filled.append((blank.path, final.rpartition("/")[0], time.monotonic()))

    def tidy(self) -> None:
        """Take the first name from what has a second one, once that is safe.

        Raises:
            OSError: the disk does not make it so; both names stay.
        """
        filled: list[tuple[str, str, float]] = []
        with suppress(IndexError):
            while True:  # other threads add some meanwhile
                filled.append(self._filled.pop())
        try:
            for folder in {folder for _, folder, _ in filled}:
                sync_folder(folder)
        except OSError:
            self._filled += filled
            raise
        for path, _, _ in filled:
            with suppress(FileNotFoundError):  # the listener may have recovered it
                os.unlink(path)  # noqa: PTH108 - it is a text, here and below

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
            self.tidy()
            self.drop(0)
            return 0
        is_quiet = time.monotonic() - self._last >= QUIET_S
        if self._filled and (is_quiet or time.monotonic() - self._filled[0][2] > TIDY_S):
            self.tidy()
        if not self._due or not is_quiet:
            return 0
        due, self._due = self._due, 0  # what cannot be made waits until something comes again
        if not self._is_on:
            return 0
        with _alone(self._folder) as is_alone:
            if not is_alone:
                self._due += due
                return 0
            wanted = max(0, min(due, most - len(self._blanks())))
            left = self._renew(wanted, has_room)
        self._due += left
        self._look_at = 0.0
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

    def drop(self, most: int) -> None:
        """Remove blank files, but for so many; where there may be none, all of them.

        Those that wait in this process for the next message go, too, unless any may stay.

        Raises:
            OSError: the disk does not answer.
        """
        keep = most if self._is_on else 0
        while not keep and self._claimed:
            with suppress(IndexError):
                _remove(self._claimed.pop())
        for name in self._blanks()[keep:]:
            with suppress(FileNotFoundError):
                claimed = _claim(f"{self._folder}/{name}")
                if claimed is not None:
                    _remove(claimed)

    def recover(self, keep: Callable[[str, int], bool], *, after_all: bool) -> Recovered:
        """Give what is whole in nobody's files to ``keep``, with its length; then it is gone here.

        ``keep`` tells whether it was nowhere else. ``after_all`` is for the start: then each file
        is read, for a power cut may take a time back to when it was blank; what is blank is
        anybody's again. What somebody holds is left alone.

        Raises:
            OSError: the folder cannot be read.
        """
        kept, unreadable = 0, []
        if after_all:
            with suppress(FileNotFoundError):
                sync_folder(self._folder)  # whoever made these may not have got there
        for name in self._all():
            path = f"{self._folder}/{name}"
            try:
                with _locked(path) as descriptor:
                    if descriptor < 0 or (not after_all and is_blank(os.fstat(descriptor))):
                        continue
                    length = whole_bytes(path)
                    if length == 0 and "-" not in name:
                        call_blank(descriptor)
                        continue
                    if length and keep(path, length):
                        kept += 1
                    os.unlink(path)  # noqa: PTH108
            except FileNotFoundError:
                continue
            except OSError as why:
                unreadable.append((name, why.errno))
        self._look_at = 0.0
        return Recovered(kept, unreadable)

    def _blanks(self) -> list[str]:
        blanks = []
        for name in self._all():
            with suppress(FileNotFoundError):
                if is_blank(os.stat(f"{self._folder}/{name}")):  # noqa: PTH116
                    blanks.append(name)
        return blanks

    def _all(self) -> list[str]:
        try:
            return os.listdir(self._folder)  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _make(self, count: int) -> int:
        """Make files, and let others have them when names and bytes are safe."""
        made: list[Blank] = []
        try:
            with mmap.mmap(-1, FILE_BYTES) as buffer:
                for _ in range(count):
                    made.append(_new(f"{self._folder}/{time_ordered_uuid()}.dcm"))
                    buffer[:] = blank(made[-1].path)
                    write_around(made[-1].descriptor, buffer)
                    if self._is_flushed:  # Linux before 7.0 syncs no size there but with a time
                        os.utime(made[-1].descriptor)
                        os.fsync(made[-1].descriptor)
            sync_folder(self._folder)
            for one in made:
                call_blank(one.descriptor)
        except BaseException:
            for one in made:
                with suppress(OSError):
                    os.unlink(one.path)  # noqa: PTH108
            raise
        finally:
            for one in made:
                os.close(one.descriptor)
        return count


def _claim(path: str) -> Blank | None:
    """Give a blank file that was nobody's; None where it is somebody's, or is not blank."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | AROUND_THE_CACHE)
    try:
        if _lock(descriptor) and is_blank(os.fstat(descriptor)):
            return Blank(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _new(path: str) -> Blank:
    """Make a file that is ours; until it is called blank, it is nobody else's."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | AROUND_THE_CACHE
    descriptor = os.open(path, flags, 0o600)
    try:
        if not _lock(descriptor):  # whoever recovers files was faster, and removes it
            raise FileNotFoundError(path)
    except OSError:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108
        raise
    return Blank(descriptor, path)


def _remove(claimed: Blank) -> None:
    try:
        os.unlink(claimed.path)  # noqa: PTH108
    finally:
        os.close(claimed.descriptor)


def _lock(descriptor: int) -> bool:
    """Lock a file; tells whether nobody else holds the lock. It ends with the descriptor."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _locked(path: str) -> Iterator[int]:
    """Give a locked file; -1 where somebody holds it.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield descriptor if _lock(descriptor) else -1
    finally:
        os.close(descriptor)


@contextmanager
def _alone(folder: str) -> Iterator[bool]:
    """Tell whether no other process makes files in a folder now, and keep them from it if so."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)
