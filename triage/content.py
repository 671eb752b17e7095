"""What a Part 10 file holds, apart from who brought it and when."""

import hashlib
import struct
from pathlib import Path
from typing import Final

MAX_META_BYTES: Final = 65_536


def digest(path: Path) -> str:
    """Give the SHA-256 of a Part 10 file's content: its transfer syntax and its data set.

    The file meta is left out. It says who brought the instance and from where, so with it the
    same instance sent twice would look like two contents under one SOP Instance UID.
    """
    with path.open("rb") as file:
        syntax, start = _content(file.read(MAX_META_BYTES))
        seeded = hashlib.sha256(syntax + b"\n")
        file.seek(start)
        return hashlib.file_digest(file, lambda: seeded).hexdigest()


def _content(head: bytes) -> tuple[bytes, int]:
    """Give the transfer syntax UID and the offset of the data set in a Part 10 file (PS3.10 7.1).

    Anything else is all content.
    """
    position, syntax = 132, b""
    if head[128:132] != b"DICM":
        return b"", 0
    while head[position : position + 2] == b"\x02\x00" and position + 12 <= len(head):
        element, vr, length = struct.unpack_from("<xxH2sH", head, position)
        position += 8
        if vr in (b"OB", b"UN", b"UT", b"UR", b"UC"):
            (length,) = struct.unpack_from("<I", head, position)
            position += 4
        if element == 0x0010:
            syntax = head[position : position + length].rstrip(b"\0 ")
        position += length
    return (syntax, position) if position < len(head) else (b"", 0)
