"""What was taken out of the trail on purpose, signed outside the database.

Without the signed bridge over it, a trail that does not begin at its first seal is a trail whose
beginning somebody removed.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from db import signed

MOST_LOOSE: Final = 500
"""Rows sealed out of their month's order that one bridge may name: its line stays short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """Rows that were retired, and where the rest of the chain begins."""

    seq: int
    """The last seal that went with its row: all before it went, too."""
    row_hash: str
    """Of that seal: the rest of the chain hangs on it."""
    loose: Mapping[int, str] = field(default_factory=dict)
    """Later seals whose rows went, number to hash: they stay."""
    rows: int
    before: str
    """Every row before this moment went; ISO 8601."""
    archive: str
    """Name of the file that has them."""
    archive_sha256: str


@dataclass(frozen=True, slots=True)
class Retired:
    """Every bridge in short, as ``db.audit.verify`` takes them."""

    ends: Mapping[int, str] = field(default_factory=dict)
    """The last seal of each, number to hash."""
    loose: Mapping[int, str] = field(default_factory=dict)
    archives: Mapping[str, str] = field(default_factory=dict)
    """A file's name to its SHA-256."""


NOTHING: Final = Retired()


def note(path: Path, key: bytes, bridge: Bridge) -> None:
    """Sign a bridge, durably; one that says the same as the last is not said again."""
    words = json.dumps(asdict(bridge), sort_keys=True, separators=(",", ":"))
    signed.append(path, key, lambda before: None if before == words else words)


def load(path: Path, key: bytes) -> Retired:
    """Give the bridges; none where there is no file.

    Raises:
        CheckpointError: a line does not carry the mac that the key gives it.
    """
    if not path.exists():
        return NOTHING
    ends: dict[int, str] = {}
    loose: dict[int, str] = {}
    archives: dict[str, str] = {}
    for words in signed.read(path, key):
        said = json.loads(words)
        ends[said["seq"]] = said["row_hash"]
        loose |= {int(number): digest for number, digest in said["loose"].items()}
        archives[said["archive"]] = said["archive_sha256"]
    return Retired(ends, loose, archives)
