"""Files that outlive a power cut, and names that tell when and by whom they were begun."""

import ctypes
import os
import secrets
import time
from contextlib import suppress
from mmap import mmap
from pathlib import Path
from typing import Final

Bytes = bytes | bytearray | memoryview | mmap
ORDERED: Final = frozenset(("ext4", "xfs"))
"""File systems whose journal never holds a name without what was handed to the disk before the
name was given."""
HAND_OVER, AND_WAIT = 2, 7
"""Flags of sync_file_range(2): start writing, and do so and wait for it."""
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


def flush_range(descriptor: int, start: int, count: int, flags: int = HAND_OVER) -> None:
    """Hand a part of a file to the disk, where the system can; 0 bytes are all from ``start`` on.

    Raises:
        OSError: the disk refuses.
    """
    if _sync_file_range is None:
        return
    if _sync_file_range(descriptor, ctypes.c_int64(start), ctypes.c_int64(count), flags):
        raise OSError(ctypes.get_errno(), "the disk does not take it")


def keeps_order(folder: Path) -> bool:
    """Tell whether one commit of a folder's journal is enough for a file's bytes and its name."""
    return _sync_file_range is not None and _file_system(folder) in ORDERED


def _file_system(root: Path) -> str:
    """Give the type of the file system that holds a folder; "" where that cannot be told.

    ext4 with data=writeback is no ext4 here.
    """
    device = root.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
            mount, _, more = line.partition(" - ")
            if mount.split()[2] == wanted:
                kind, _, options = more.split(" ", 2)
                return "" if "data=writeback" in options else kind
    return ""
