"""The file meta information of a Part 10 file that somebody sends (PS3.10 7.1): read, not believed.

It is replaced by our own; only the transfer syntax is taken from it. The names it gives the
instance count where the data set cannot be read: files that differ there are common.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from triage.errors import Refused
from triage.receive.request import ACCEPTABLE
from triage.receive.scan import is_uid
from triage.receive.walk import CANNOT_UNDERSTAND
from triage.spool import Bytes

SYNTAX_NOT_SUPPORTED: Final = 0xC122
"""Referenced Transfer Syntax not supported (PS3.18 Table I.2-2)."""
MAX_META_BYTES: Final = 65_536
START: Final = 132
HEADER: Final = Struct("<HH2sH")
LONG: Final = Struct("<I")
LONG_VRS: Final = frozenset((b"OB", b"OW", b"UN", b"UT", b"UR", b"UC"))
CLASS, INSTANCE, SYNTAX = 0x0002, 0x0003, 0x0010


@dataclass(frozen=True, slots=True)
class Meta:
    """What the file says of itself; what is missing or no UID is empty."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    start: int
    """Where the data set begins."""


def read_meta(content: Bytes) -> Meta:
    """Read the file meta information of a whole file.

    Raises:
        Refused: 0xC000, this is no Part 10 file.
    """
    head = bytes(content[: START + MAX_META_BYTES])
    if head[128:START] != b"DICM":
        raise Refused(CANNOT_UNDERSTAND, "not a DICOM file")
    found, position = {}, START
    while head[position : position + 2] == b"\x02\x00":
        if len(head) - position < HEADER.size + LONG.size:
            raise Refused(CANNOT_UNDERSTAND, "the file meta information is cut")
        _, element, vr, length = HEADER.unpack_from(head, position)
        position += HEADER.size
        if vr in LONG_VRS:
            (length,) = LONG.unpack_from(head, position)
            position += LONG.size
        found[element] = head[position : position + length]
        position += length
        if position > len(head):
            raise Refused(CANNOT_UNDERSTAND, "the file meta information is cut or too long")
    uids = {element: _uid(value) for element, value in found.items()}
    return Meta(uids.get(CLASS, ""), uids.get(INSTANCE, ""), uids.get(SYNTAX, ""), position)


def check_syntax(meta: Meta) -> None:
    """Refuse a file in a transfer syntax that the listener would not take either.

    Raises:
        Refused: 0xC122.
    """
    if meta.transfer_syntax_uid not in ACCEPTABLE:
        raise Refused(SYNTAX_NOT_SUPPORTED, "transfer syntax not supported")


def _uid(value: bytes) -> str:
    text = value.rstrip(b"\0 ")
    return text.decode("ascii") if is_uid(text) else ""
