"""The header that makes a received data set a file (PS3.10 7.1), written by us alone.

The preamble is zeros, whatever a peer would like there (CVE-2019-11687). The data set follows
untouched. The association and its times travel as private information of ours (PS3.10 7.1).
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple, Protocol

from triage import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

PREFIX: Final = bytes(128) + b"DICM"
SHORT: Final = Struct("<HH2sH")
LONG: Final = Struct("<HH2sxxI")
BEGINNING: Final = PREFIX + SHORT.pack(2, 0, b"UL", 4)
VERSION: Final = LONG.pack(2, 0x0001, b"OB", 2) + b"\0\x01"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end of an association, and which of our ends it reached."""

    ae_title: str
    called_ae_title: str
    address: str
    port: int
    our_address: str
    our_port: int
    association_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Ours, random: 32 hexadecimal digits."""
    opened_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    scheme: str = "dicom"
    """http where it came by STOW-RS."""

    def __hash__(self) -> int:
        """Give what two associations do not share, and is worked out once."""
        return hash(self.association_id)


class Names(Protocol):
    """What has the two names of an instance."""

    @property
    def sop_class_uid(self) -> str: ...  # noqa: D102 - the standard's name
    @property
    def sop_instance_uid(self) -> str: ...  # noqa: D102


class Named(NamedTuple):
    """An instance's names alone."""

    sop_class_uid: str
    sop_instance_uid: str


def file_header(
    named: Names,
    transfer_syntax_uid: str,
    caller: Caller,
    note: Mapping[str, str | int] | None = None,
) -> bytes:
    """Give preamble, prefix and file meta for a data set; ``note`` goes into our private part.

    Presentation addresses are written as PS3.10 7.1.1.1 says: "dicom:10.0.0.5:104".
    """
    private = _private(caller, note or {})
    meta = b"".join((
        VERSION,
        _short(0x0002, b"UI", named.sop_class_uid),
        _short(0x0003, b"UI", named.sop_instance_uid),
        _of_association(transfer_syntax_uid, caller),
    ))  # fmt: skip
    length = (len(meta) + len(private)).to_bytes(4, "little")
    return b"".join((BEGINNING, length, meta, private))


@lru_cache(maxsize=256)
def _of_association(transfer_syntax_uid: str, caller: Caller) -> bytes:
    """Give what is the same in every file of one association."""
    theirs = f"{caller.scheme}:{_host(caller.address)}:{caller.port}"
    ours = f"{caller.scheme}:{_host(caller.our_address)}:{caller.our_port}"
    return b"".join((
        _short(0x0010, b"UI", transfer_syntax_uid),
        _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
        _short(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
        _short(0x0016, b"AE", caller.ae_title),
        _short(0x0017, b"AE", caller.ae_title),
        _short(0x0018, b"AE", caller.called_ae_title),
        _address(0x0026, theirs),
        _address(0x0027, theirs),
        _address(0x0028, ours),
        _short(0x0100, b"UI", IMPLEMENTATION_CLASS_UID),
    ))  # fmt: skip


def _short(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return SHORT.pack(2, element, vr, len(value)) + value


def _address(element: int, text: str) -> bytes:
    value = text.encode("ascii")
    value += b" " * (len(value) % 2)
    return LONG.pack(2, element, b"UR", len(value)) + value


def _private(caller: Caller, note: Mapping[str, str | int]) -> bytes:
    """Give who brought it and when, for the index: JSON in Private Information."""
    spooled = datetime.now(UTC).isoformat(timespec="milliseconds")
    more = f", {json.dumps(note)[1:-1]}" if note else ""
    value = f'{{{_opened(caller)}, "spooled": "{spooled}"{more}}}'.encode("ascii")
    value += b" " * (len(value) % 2)
    return LONG.pack(2, 0x0102, b"OB", len(value)) + value


@lru_cache(maxsize=256)
def _opened(caller: Caller) -> str:
    opened = caller.opened_at.isoformat(timespec="milliseconds")
    return json.dumps({"association": caller.association_id, "opened": opened})[1:-1]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
