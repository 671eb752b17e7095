"""Seals remembered outside the database: the only witness of a cut tail or a rewritten chain.

An append-only file of lines ``seq hash time mac``. Each mac is an HMAC-SHA256 over the line and the
mac before it, so that no line can be changed, taken out of the middle or written without the key.
What remains is a file cut at its end together with the database: copy the file, or its last line,
to another host.
"""

import fcntl
import hashlib
import hmac
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from sqlalchemy.orm import Session

from db.audit import head
from db.engine import now

_TAIL_BYTES: Final = 1024
"""More than a line: all that is read to append the next one."""


class CheckpointError(Exception):
    """The checkpoint file was changed, or the key is another one."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A seal, and when it was noted."""

    seq: int
    row_hash: str
    at: datetime


def take(session: Session, path: Path, key: bytes) -> Checkpoint | None:
    """Note the chain's head at the end of the file, durably; None when it is noted already."""
    seq, row_hash = head(session)
    path.touch(mode=0o600)
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        last = _last_line(file)
        if seq <= (int(last.split()[0]) if last else 0):
            return None
        point = Checkpoint(seq, row_hash, now(session))
        file.write(_line(key, _mac_of(last), point))
        file.flush()
        os.fsync(file.fileno())
    return point


def load(path: Path, key: bytes) -> dict[int, str]:
    """Give the remembered seals, number to hash, as ``db.audit.verify`` takes them.

    Raises:
        CheckpointError: a line does not carry the mac that the key gives it.
    """
    remembered: dict[int, str] = {}
    before = ""
    for number, line in enumerate(_whole_lines(path.read_bytes()), start=1):
        try:
            seq, row_hash, at, mac = line.split(" ")
            point = Checkpoint(int(seq), row_hash, datetime.fromisoformat(at))
        except ValueError:
            msg = f"line {number} of {path} is no checkpoint"
            raise CheckpointError(msg) from None
        if not hmac.compare_digest(mac, _mac(key, before, point)):
            msg = f"line {number} of {path} was changed, or lines before it were removed"
            raise CheckpointError(msg)
        remembered[point.seq] = row_hash
        before = mac
    return remembered


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


def _line(key: bytes, before: str, point: Checkpoint) -> bytes:
    return f"{_words(point)} {_mac(key, before, point)}\n".encode()


def _mac(key: bytes, before: str, point: Checkpoint) -> str:
    return hmac.new(key, f"{before} {_words(point)}".encode(), hashlib.sha256).hexdigest()


def _mac_of(line: str) -> str:
    return line.rpartition(" ")[2]


def _words(point: Checkpoint) -> str:
    return f"{point.seq} {point.row_hash} {point.at.isoformat()}"
