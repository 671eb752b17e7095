"""A-ASSOCIATE-RQ: bounded here, decoded by pynetdicom (PS3.8 9.3.2).

pynetdicom takes any number of items, refuses ones it does not know, which PS3.8 9.3.1 wants
passed over, and decodes passwords. It gets a request of the same meaning that has none of these.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from struct import Struct
from typing import Final

from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext

from triage.commitment import SOP_CLASS as STORAGE_COMMITMENT
from triage.receive.pdu import HEADER, Broken, Pdu, Why
from triage.receive.scan import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    is_uid,
)

MAX_ITEMS: Final = 130
"""128 presentation contexts (their IDs are odd bytes), application context and user information."""
MAX_REMEMBERED: Final = 32
MAX_REMEMBERED_BYTES: Final = 16_384
"""A device asks with the same bytes each time: what they mean is worked out once. A request for all
storage classes, as DCMTK's, has 9 KiB and takes 20 ms to read and negotiate."""
MAX_SYNTAXES: Final = 16_384
"""Of all presentation contexts: 128 each, far beyond all that exist."""
ITEM: Final = Struct(">BxH")
FIXED_BYTES: Final = 68
"""Protocol version, both AE titles and reserved bytes, before the items."""
AE_TITLES: Final = (slice(4, 20), slice(20, 36))
"""Called and calling."""
ILLEGIBLE: Final = "ILLEGIBLE"
"""Stands in for a title that pynetdicom would refuse to read; the door refuses it by its own."""
RLE: Final = "1.2.840.10008.1.2.5"
JPEG: Final = tuple(
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)
)
"""Baseline, extended, lossless and its first predictor; JPEG-LS; JPEG 2000; high throughput."""
PREFERRED: Final = frozenset((EXPLICIT_LITTLE, IMPLICIT_LITTLE, RLE, *JPEG))
"""What pydicom decodes; of these, the peer's own order decides."""
ACCEPTABLE: Final = PREFERRED | {DEFLATED_LITTLE, EXPLICIT_BIG}
"""Deflated and big endian are taken where nothing else is offered."""
APPLICATION_CONTEXT_ITEM: Final = 0x10
CONTEXT_ITEM: Final = 0x20
ABSTRACT_SYNTAX: Final = 0x30
TRANSFER_SYNTAX: Final = 0x40
USER_ITEM: Final = 0x50
USED: Final = frozenset((0x51, 0x53))
"""Maximum length and asynchronous operations window. User identity and extended negotiation are
passed over: nothing here believes a password that came in the clear. Of the roles only one counts,
which is read here."""
ROLE: Final = 0x54
COMMITTER: Final = Struct(">H").pack(len(STORAGE_COMMITMENT)) + STORAGE_COMMITMENT.encode()
"""A role selection (PS3.7 D.3.3.4) for Storage Commitment, before its two bytes: SCU and SCP."""


@dataclass(frozen=True, slots=True, eq=False)
class AssociateRequest:
    """What a peer asks for. AE titles are stripped, and may still hold anything.

    The same bytes give the same object, so that its negotiation can be remembered with it.
    """

    calling_ae_title: str
    called_ae_title: str
    protocol_version: int
    application_context: str
    proposals: tuple[PresentationContext, ...]
    max_pdu_bytes: int
    """What the peer takes; 0 is any length."""
    wants_async: bool
    asks_commitments: bool = True
    """It is a user of Storage Commitment: so is who proposes no role (PS3.7 D.3.3.4)."""
    reports_commitments: bool = False
    """It is a provider of Storage Commitment, here to report (PS3.4 J.3.3)."""


def read_request(content: bytes | bytearray | memoryview) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ, given without its PDU header.

    Raises:
        Broken: it is malformed.
    """
    content = bytes(content)
    if len(content) < FIXED_BYTES:
        raise Broken(Why.INVALID_PARAMETER, "sent a short A-ASSOCIATE-RQ")
    return _remembered(content) if len(content) <= MAX_REMEMBERED_BYTES else _read(content)


def _read(content: bytes) -> AssociateRequest:
    called, calling = (_ae_title(content[place]) for place in AE_TITLES)
    plain = _plain(content, called, calling)
    pdu = A_ASSOCIATE_RQ()
    try:
        pdu.decode(HEADER.pack(Pdu.ASSOCIATE_RQ, len(plain)) + plain)
        asked = pdu.to_primitive()
    except Exception:  # noqa: BLE001 - it raises whatever hostile bytes lead it to, quoting them
        raise Broken(Why.INVALID_PARAMETER, "sent a damaged A-ASSOCIATE-RQ") from None
    user = {type(item): item for item in asked.user_information}
    asks, reports = _roles(content)
    most = user.get(MaximumLengthNotification)
    return AssociateRequest(
        calling_ae_title=calling,
        called_ae_title=called,
        protocol_version=pdu.protocol_version,
        application_context=asked.application_context_name or "",
        proposals=tuple(asked.presentation_context_definition_list),
        max_pdu_bytes=getattr(most, "maximum_length_received", None) or 0,
        wants_async=AsynchronousOperationsWindowNegotiation in user,
        asks_commitments=asks,
        reports_commitments=reports,
    )


_remembered = lru_cache(MAX_REMEMBERED)(_read)


def is_ae_title(text: str) -> bool:
    """Tell whether this can be an AE title (PS3.5 6.2)."""
    return 1 <= len(text) <= 16 and all(" " <= one <= "~" and one != "\\" for one in text)


def _plain(content: bytes, called: str, calling: str) -> bytes:
    """Give the request with legible titles, and of the items those that are used."""
    items = list(islice(_items(memoryview(content)[FIXED_BYTES:]), MAX_ITEMS + 1))
    if len(items) > MAX_ITEMS:
        raise Broken(Why.INVALID_PARAMETER, "proposes too many presentation contexts")
    left = MAX_SYNTAXES
    parts = [content[:4], _legible(called), _legible(calling), content[36:FIXED_BYTES]]
    for kind, value in items:
        if kind == APPLICATION_CONTEXT_ITEM:
            parts += [_item(kind, uid) for uid in _uids([(kind, value)], kind)]
        elif kind == CONTEXT_ITEM:
            inner = list(islice(_items(value[4:]), left + 1))
            left -= len(inner)
            if left < 0:
                raise Broken(Why.INVALID_PARAMETER, "proposes too many transfer syntaxes")
            parts.append(_item(kind, bytes(value[:4]) + _syntaxes(inner)))
        elif kind == USER_ITEM:
            user = {one: inner for one, inner in _items(value) if one in USED}
            parts.append(_item(kind, b"".join(_item(*pair) for pair in user.items())))
    return b"".join(parts)


def _roles(content: bytes) -> tuple[bool, bool]:
    """Give whether the peer would be user and provider of Storage Commitment."""
    roles = (
        bytes(value)
        for kind, user in _items(memoryview(content)[FIXED_BYTES:])
        if kind == USER_ITEM
        for one, value in _items(user)
        if one == ROLE
    )
    chosen = [role[len(COMMITTER) :] for role in roles if role.startswith(COMMITTER)]
    if not chosen:
        return True, False
    return any(role[:1] == b"\1" for role in chosen), any(role[1:] == b"\1" for role in chosen)


def _syntaxes(items: list[tuple[int, memoryview]]) -> bytes:
    """Give a proposal's abstract syntax and the transfer syntaxes that matter, in their order.

    That is those we take, or else one to name in the answer: pynetdicom's time goes with them.
    """
    offered = _uids(items, TRANSFER_SYNTAX)
    transfer = [uid for uid in offered if uid.decode() in ACCEPTABLE] or offered[:1]
    abstract = [_item(ABSTRACT_SYNTAX, uid) for uid in _uids(items, ABSTRACT_SYNTAX)[:1]]
    return b"".join(abstract + [_item(TRANSFER_SYNTAX, uid) for uid in transfer])


def _uids(items: list[tuple[int, memoryview]], kind: int) -> list[bytes]:
    """Give the values of one kind that can be UIDs, once each, without padding.

    pynetdicom takes any text for a UID; and a syntax that is none is just one we do not know.
    """
    stripped = (bytes(value).rstrip(b"\0 ") for one, value in items if one == kind)
    return [uid for uid in dict.fromkeys(stripped) if is_uid(uid)]


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


def _item(kind: int, value: bytes | memoryview) -> bytes:
    return ITEM.pack(kind, len(value)) + value


def _ae_title(field: bytes) -> str:
    return field.rstrip(b"\0").decode("latin-1").strip(" ")


def _legible(ae_title: str) -> bytes:
    return (ae_title if is_ae_title(ae_title) else ILLEGIBLE).ljust(16).encode("ascii")
