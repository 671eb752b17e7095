"""Append-only files of signed lines, outside the database.

Each line ends in an HMAC-SHA256 over itself and the mac before it, so that no line can be changed,
taken out of the middle or written without the key. What remains is a file cut at its end: copy the
file, or its last line, to another host.
"""

import fcntl
import hashlib
import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

_TAIL_BYTES: Final = 65_536
"""More than a line: all that is read to append the next one."""


class CheckpointError(Exception):
    """A file of signed lines was changed, or the key is another one."""


def append(path: Path, key: bytes, say: Callable[[str], str | None]) -> bool:
    """Add one line durably, of mode 0600; tells whether.

    ``say`` is given the last line's words, or "" before the first, and gives the new ones, or None
    when there is nothing to add. Nobody else writes meanwhile.
    """
    path.touch(mode=0o600)
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before, _, mac = _last_line(file).rpartition(" ")
        words = say(before)
        if words is None:
            return False
        file.write(f"{words} {_mac(key, mac, words)}\n".encode())
        file.flush()
        os.fsync(file.fileno())
    return True


def read(path: Path, key: bytes) -> list[str]:
    """Give the words of each whole line.

    Raises:
        CheckpointError: a line does not carry the mac that the key gives it.
    """
    found, before = [], ""
    for number, line in enumerate(_whole_lines(path.read_bytes()), start=1):
        words, _, mac = line.rpartition(" ")
        if not hmac.compare_digest(mac.encode(), _mac(key, before, words).encode()):
            msg = f"line {number} of {path} was changed, or lines before it were removed"
            raise CheckpointError(msg)
        found.append(words)
        before = mac
    return found


def _last_line(file: BinaryIO) -> str:
    """Give the last whole line, and stand behind it: a torn one is written over."""
    end = file.seek(0, os.SEEK_END)
    start = file.seek(max(0, end - _TAIL_BYTES))
    tail = file.read()
    keep = tail.rfind(b"\n") + 1
    file.truncate(start + keep)
    file.seek(start + keep)
    lines = _whole_lines(tail)
    return lines[-1] if lines else ""


def _whole_lines(content: bytes) -> list[str]:
    return content[: content.rfind(b"\n") + 1].decode("ascii", "backslashreplace").splitlines()


def _mac(key: bytes, before: str, words: str) -> str:
    return hmac.new(key, f"{before} {words}".encode(), hashlib.sha256).hexdigest()
