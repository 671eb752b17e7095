"""Seals remembered outside the database: the only witness of a cut tail or a rewritten chain.

Signed lines of ``seq hash time`` (``db.signed``).
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from db import signed
from db.audit import head
from db.engine import now
from db.signed import CheckpointError

__all__ = ["Checkpoint", "CheckpointError", "load", "take"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A seal, and when it was noted."""

    seq: int
    row_hash: str
    at: datetime


def take(session: Session, path: Path, key: bytes) -> Checkpoint | None:
    """Note the chain's head at the end of the file, durably; None when it is noted already."""
    seq, row_hash = head(session)
    point = Checkpoint(seq, row_hash, now(session))

    def say(before: str) -> str | None:
        return _words(point) if seq > (int(before.split(maxsplit=1)[0]) if before else 0) else None

    return point if signed.append(path, key, say) else None


def load(path: Path, key: bytes) -> dict[int, str]:
    """Give the remembered seals, number to hash, as ``db.audit.verify`` takes them.

    Raises:
        CheckpointError: a line does not carry the mac that the key gives it.
    """
    remembered: dict[int, str] = {}
    for words in signed.read(path, key):
        seq, row_hash, _at = words.split(" ")
        remembered[int(seq)] = row_hash
    return remembered


def _words(point: Checkpoint) -> str:
    return f"{point.seq} {point.row_hash} {point.at.isoformat()}"
