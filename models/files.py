"""Bytes on disk: whole or not at all."""

import hashlib
import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside ``path``, fsync, and rename into place: a reader sees the old or the new."""
    beside = path.with_name(f".{path.name}.part")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def sha256(content: bytes) -> str:
    """Give the digest in lower-case hexadecimal."""
    return hashlib.sha256(content).hexdigest()
