"""A-ASSOCIATE-RQ to A-ASSOCIATE-AC or -RJ: who calls, and what we take (PS3.8 9.3.2 to 9.3.4)."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import islice
from struct import Struct
from typing import Final

from pydicom.uid import UID

from triage import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from triage.receive.pdu import HEADER, Broken, Pdu, Why
from triage.receive.scan import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)

VERIFICATION: Final = "1.2.840.10008.1.1"
APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
RLE: Final = "1.2.840.10008.1.2.5"
JPEG: Final = tuple(
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)
)
"""Baseline, extended, lossless and its first predictor; JPEG-LS; JPEG 2000; high throughput."""
PREFERRED: Final = frozenset((EXPLICIT_LITTLE, IMPLICIT_LITTLE, RLE, *JPEG))
"""What pydicom decodes; of these, the peer's own order decides."""
ACCEPTABLE: Final = PREFERRED | {DEFLATED_LITTLE, EXPLICIT_BIG}
"""Deflated and big endian are taken where nothing else is offered."""
STORAGE_ROOTS: Final = ("1.2.840.10008.5.1.4.1.1.", "1.2.840.10008.5.1.4.34.")
MAX_ITEMS: Final = 130
"""128 presentation contexts (their IDs are odd bytes), application context and user information."""
ITEM: Final = Struct(">BxH")
FIXED_BYTES: Final = 68
"""Protocol version, both AE titles and reserved bytes, before the items."""


class Rejection(Enum):
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

    NO_CONTEXT = (1, 1, 1)
    APPLICATION_CONTEXT = (1, 1, 2)
    CALLING_AE_TITLE = (1, 1, 3)
    CALLED_AE_TITLE = (1, 1, 7)
    PROTOCOL_VERSION = (1, 2, 2)
    LOCAL_LIMIT = (2, 3, 2)

    @property
    def pdu(self) -> bytes:
        """Give the whole PDU."""
        return HEADER.pack(Pdu.ASSOCIATE_RJ, 4) + bytes((0, *self.value))


@dataclass(frozen=True, slots=True)
class Proposal:
    """One presentation context as the peer offers it."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """What a peer asks for. AE titles are stripped, and may still hold anything."""

    calling_ae_title: str
    called_ae_title: str
    protocol_version: int
    application_context: str
    proposals: tuple[Proposal, ...]
    max_pdu_bytes: int
    """What the peer takes; 0 is any length."""
    wants_async: bool
    fixed: bytes
    """The fixed part, which the answer repeats."""


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


def read_request(content: bytes | bytearray | memoryview) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ, given without its PDU header.

    User identity and extended negotiation are passed over: nothing here believes a password
    that came in the clear.

    Raises:
        Broken: it is malformed.
    """
    content = memoryview(content)
    if len(content) < FIXED_BYTES:
        raise Broken(Why.INVALID_PARAMETER, "sent a short A-ASSOCIATE-RQ")
    items = list(islice(_items(content[FIXED_BYTES:]), MAX_ITEMS + 1))
    if len(items) > MAX_ITEMS:
        raise Broken(Why.INVALID_PARAMETER, "proposes too many presentation contexts")
    proposals = tuple(_proposal(value) for kind, value in items if kind == 0x20)
    users = [dict(_items(value)) for kind, value in items if kind == 0x50]
    user = users[0] if users else {}
    return AssociateRequest(
        calling_ae_title=_ae_title(content[20:36]),
        called_ae_title=_ae_title(content[4:20]),
        protocol_version=int.from_bytes(content[:2], "big"),
        application_context=next((_uid(value) for kind, value in items if kind == 0x10), ""),
        proposals=proposals,
        max_pdu_bytes=int.from_bytes(user.get(0x51, b""), "big"),
        wants_async=0x53 in user,
        fixed=bytes(content[:FIXED_BYTES]),
    )


def negotiate(request: AssociateRequest) -> dict[int, Context]:
    """Give the presentation contexts that we take, by their ID."""
    taken = {}
    for proposal in request.proposals:
        syntax = _choose(proposal)
        if syntax and _is_taken(proposal.abstract_syntax):
            taken[proposal.context_id] = Context(proposal.abstract_syntax, syntax)
    return taken


def acceptance(request: AssociateRequest, taken: dict[int, Context], max_pdu_bytes: int) -> bytes:
    """Give the A-ASSOCIATE-AC. Asynchronous operations are answered with one at a time."""
    items = [_item(0x10, APPLICATION_CONTEXT.encode())]
    for proposal in request.proposals:
        context = taken.get(proposal.context_id)
        result = 0 if context else 4 if _is_taken(proposal.abstract_syntax) else 3
        syntax = context.transfer_syntax if context else IMPLICIT_LITTLE
        head = bytes((proposal.context_id, 0, result, 0))
        items.append(_item(0x21, head + _item(0x40, syntax.encode())))
    user = [
        _item(0x51, max_pdu_bytes.to_bytes(4, "big")),
        _item(0x52, IMPLEMENTATION_CLASS_UID.encode()),
        *([_item(0x53, b"\0\x01\0\x01")] if request.wants_async else []),
        _item(0x55, IMPLEMENTATION_VERSION_NAME.encode()),
    ]
    items.append(_item(0x50, b"".join(user)))
    content = b"\0\x01" + request.fixed[2:] + b"".join(items)
    return HEADER.pack(Pdu.ASSOCIATE_AC, len(content)) + content


def is_ae_title(text: str) -> bool:
    """Tell whether this can be an AE title (PS3.5 6.2)."""
    return 1 <= len(text) <= 16 and all(" " <= one <= "~" and one != "\\" for one in text)


@lru_cache(maxsize=1024)
def is_storage(uid: str) -> bool:
    """Tell whether instances of this SOP class come by C-STORE and belong to a patient.

    Private classes are taken for such, and so are classes under the storage root that are newer
    than our dictionary.
    """
    if not uid.startswith("1.2.840.10008."):
        return bool(uid)
    return uid.startswith(STORAGE_ROOTS) and (UID(uid).type == "" or "Storage" in UID(uid).name)


def _is_taken(abstract_syntax: str) -> bool:
    return abstract_syntax == VERIFICATION or is_storage(abstract_syntax)


def _choose(proposal: Proposal) -> str:
    """Give the transfer syntax to use; "" when none is ours."""
    offered = [one for one in proposal.transfer_syntaxes if one in ACCEPTABLE]
    return next((one for one in offered if one in PREFERRED), offered[0] if offered else "")


def _proposal(value: memoryview) -> Proposal:
    if len(value) < 4 or not value[0] & 1:
        raise Broken(Why.INVALID_PARAMETER, "proposes a damaged presentation context")
    parts = list(_items(value[4:]))
    abstract = next((_uid(part) for kind, part in parts if kind == 0x30), "")
    return Proposal(value[0], abstract, tuple(_uid(part) for kind, part in parts if kind == 0x40))


def _items(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    position = 0
    while position < len(content):
        if len(content) - position < ITEM.size:
            raise Broken(Why.INVALID_PARAMETER, "sent a damaged item")
        kind, length = ITEM.unpack_from(content, position)
        position += ITEM.size
        if length > len(content) - position:
            raise Broken(Why.INVALID_PARAMETER, "sent a damaged item")
        yield kind, content[position : position + length]
        position += length


def _item(kind: int, value: bytes) -> bytes:
    return ITEM.pack(kind, len(value)) + value


def _ae_title(field: memoryview) -> str:
    return bytes(field).rstrip(b"\0").decode("latin-1").strip(" ")


def _uid(value: memoryview) -> str:
    """Give a UID's text; "" for anything that cannot be one."""
    text = bytes(value).rstrip(b"\0 ").decode("latin-1")
    return text if len(text) <= 64 and text.replace(".", "").isdecimal() else ""
