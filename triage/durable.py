"""Files that outlive a power cut, and names that tell when and by whom they were begun."""

import ctypes
import os
import secrets
import sys
import time
from contextlib import suppress
from mmap import mmap
from pathlib import Path
from typing import Final, NamedTuple

Bytes = bytes | bytearray | memoryview | mmap
JOURNALS: Final = frozenset(("ext4", "xfs"))
"""File systems whose journal never holds a name without what was handed to the disk before the
name was given. An ext4 may have been made without one."""
MIN_FREE_INODES: Final = 1000
"""Fewer files that can still be made, and nothing more is taken."""
AND_WAIT: Final = 7
"""Flags of sync_file_range(2): start writing, and wait for it."""
_sync_file_range: Final = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)


def write_all(descriptor: int, data: Bytes) -> None:
    """Write all of it, however little the file takes at a time.

    Raises:
        OSError: the disk refuses, or a limit.
    """
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def write_synced(path: Path, parts: tuple[Bytes, ...]) -> None:
    """Make a new file of these parts, safe on the disk; its name is not yet.

    Raises:
        OSError: the disk refuses, or the file is there.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for part in parts:
            write_all(descriptor, part)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path | str) -> None:
    """Make what is in a file safe on the disk.

    Raises:
        OSError: the disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path | str) -> None:
    """Make the names in a folder safe on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def time_ordered_uuid() -> str:
    """Give a version 7 UUID in hexadecimal (RFC 9562 5.7): sorting names sorts by time."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    number = number & ~(0xF << 76) | 7 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    return f"{number:032x}"


def start_ticks(pid: int) -> str:
    """Give when a process started, in clock ticks since boot; "" if there is no such process."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return facts.rpartition(")")[2].split()[19]


def is_alive(name: str) -> bool:
    """Tell whether the process that a name begins with, as "pid-ticks", is at work."""
    pid, _, rest = name.partition("-")
    return pid.isdigit() and start_ticks(int(pid)) == rest.partition("-")[0]


def hand_over(descriptor: int) -> None:
    """Give all of a file to the disk, where the system can, and wait until it has it.

    Raises:
        OSError: the disk refuses.
    """
    if _sync_file_range is None:
        return
    if _sync_file_range(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), AND_WAIT):
        raise OSError(ctypes.get_errno(), "the disk does not take it")


class Disk(NamedTuple):
    """What the file system under a folder does for what is to outlive a power cut."""

    keeps_order: bool = False
    """One commit of its journal is enough for a file's bytes and its name."""
    overwrites: bool = False
    """What is written over a file stays where its blocks are, and is read from there."""
    flushes: bool = False
    """Without a journal: a sync of a file writes its inode each time, of anything else just empties
    the disk's write cache."""


def disk_of(folder: Path) -> Disk:
    """Give what is known of the file system that holds a folder; nothing is expected of others."""
    kind, options = _file_system(folder)
    if kind not in JOURNALS or "data=writeback" in options:
        return Disk()
    if kind == "ext4" and not _has_journal(folder):
        return Disk(overwrites=True, flushes=True)
    return Disk(keeps_order=_sync_file_range is not None, overwrites=True)


def _has_journal(folder: Path) -> bool:
    """Tell whether an ext4 file system says that it has a journal."""
    device = _device(folder)
    with suppress(OSError):
        name = Path(f"/sys/dev/block/{device}").resolve(strict=True).name
        task = Path(f"/sys/fs/ext4/{name}/journal_task").read_text(encoding="ascii")
        return task.strip().isdigit()
    return False


def _device(folder: Path) -> str:
    device = folder.stat().st_dev
    return f"{os.major(device)}:{os.minor(device)}"


def _file_system(folder: Path) -> tuple[str, str]:
    """Give type and options of the file system that holds a folder; "" where that is not told."""
    wanted = _device(folder)
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
            mount, _, more = line.partition(" - ")
            if mount.split()[2] == wanted:
                kind, _, options = more.split(" ", 2)
                return kind, options
    return "", ""


def room(folder: Path) -> tuple[int, int]:
    """Give how many bytes can still be written beside a folder's, and how many files be made.

    A file system without a limit on files gives the largest number.

    Raises:
        OSError: it does not answer.
    """
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize, facts.f_favail if facts.f_files else sys.maxsize


def has_room(folder: Path, least_bytes: int) -> bool:
    """Tell whether a spool's disk is above its watermark; one that does not answer is not."""
    try:
        free_bytes, free_inodes = room(folder)
    except OSError:
        return False
    return free_bytes >= least_bytes and free_inodes >= MIN_FREE_INODES
