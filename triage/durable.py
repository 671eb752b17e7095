"""Files that outlive a power cut, and names that tell when and by whom they were begun."""

import os
import secrets
import time
from mmap import mmap
from pathlib import Path

Bytes = bytes | bytearray | memoryview | mmap


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
