"""Command sets: the few elements of group 0000 that a storage provider needs (PS3.7 9.3, E.1).

They are always implicit VR little endian. Nothing of them is interpreted beyond what is used.
pynetdicom writes the response to a C-ECHO; half a millisecond is too much for each instance.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from pynetdicom.dimse_messages import C_ECHO_RSP
from pynetdicom.dimse_primitives import C_ECHO

from triage.receive.pdu import Broken, Why
from triage.receive.scan import is_uid

ELEMENT: Final = Struct("<HHI")
RESPONSE: Final = 0x8000
NO_DATA_SET: Final = 0x0101
MAX_COMMENT_CHARACTERS: Final = 64

GROUP_LENGTH: Final = 0x0000
SOP_CLASS_UID: Final = 0x0002
REQUESTED_SOP_CLASS_UID: Final = 0x0003
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
MESSAGE_ID_RESPONDED_TO: Final = 0x0120
DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
ERROR_COMMENT: Final = 0x0902
ERROR_ID: Final = 0x0903
SOP_INSTANCE_UID: Final = 0x1000
REQUESTED_SOP_INSTANCE_UID: Final = 0x1001
EVENT_TYPE_ID: Final = 0x1002
ACTION_TYPE_ID: Final = 0x1008


class Field(IntEnum):
    """Command fields of the requests that are answered (PS3.7 Table E.1-1)."""

    C_STORE = 0x0001
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140
    C_CANCEL = 0x0FFF


@dataclass(frozen=True, slots=True)
class Command:
    """A request's command set. The UIDs are bytes as received: nobody has judged them yet.

    They are the affected ones, or, where the request names those, the requested ones.
    """

    field: int
    message_id: int
    sop_class_uid: bytes
    sop_instance_uid: bytes
    has_data_set: bool
    type_id: int = 0
    """Of the event or the action."""


def read_command(data: bytes | bytearray) -> Command:
    """Read a request's command set.

    Raises:
        Broken: it is malformed, is a response, or lacks what an answer needs.
    """
    elements = _elements(data)
    field = _number(elements, COMMAND_FIELD)
    if field & RESPONSE:
        raise Broken(Why.UNEXPECTED_PARAMETER, "sent a response to nothing")
    if field == Field.C_CANCEL:
        return Command(field, 0, b"", b"", has_data_set=False)
    return Command(
        field=field,
        message_id=_number(elements, MESSAGE_ID),
        sop_class_uid=_first(elements, SOP_CLASS_UID, REQUESTED_SOP_CLASS_UID),
        sop_instance_uid=_first(elements, SOP_INSTANCE_UID, REQUESTED_SOP_INSTANCE_UID),
        has_data_set=_number(elements, DATA_SET_TYPE) != NO_DATA_SET,
        type_id=int.from_bytes(_first(elements, EVENT_TYPE_ID, ACTION_TYPE_ID)[:2], "little"),
    )


def response(command: Command, status: int, comment: str = "", error_id: int = 0) -> bytes:
    """Give the response's command set, without data set.

    UIDs are repeated only when they can be UIDs at all: the rest stays where it came from.
    """
    comment = comment[:MAX_COMMENT_CHARACTERS].encode("ascii", "replace").decode()
    if command.field == Field.C_ECHO:
        return _echo_response(command, status, comment)
    elements = [
        (SOP_CLASS_UID, _repeatable(command.sop_class_uid)),
        (COMMAND_FIELD, _short(command.field | RESPONSE)),
        (MESSAGE_ID_RESPONDED_TO, _short(command.message_id)),
        (DATA_SET_TYPE, _short(NO_DATA_SET)),
        (STATUS, _short(status)),
        (ERROR_COMMENT, _even(comment.encode(), b" ")),
        (ERROR_ID, _short(error_id) if error_id else b""),
        (SOP_INSTANCE_UID, _repeatable(command.sop_instance_uid)),
    ]
    body = b"".join(
        ELEMENT.pack(0, number, len(value)) + value for number, value in elements if value
    )
    return ELEMENT.pack(0, GROUP_LENGTH, 4) + len(body).to_bytes(4, "little") + body


@lru_cache(maxsize=64)
def _echo_response(command: Command, status: int, comment: str) -> bytes:
    sop_class = _repeatable(command.sop_class_uid).rstrip(b"\0").decode()
    primitive: Any = C_ECHO()  # its attributes are annotated as always None
    primitive.MessageIDBeingRespondedTo = command.message_id
    primitive.AffectedSOPClassUID = sop_class or None
    primitive.Status = status
    primitive.ErrorComment = comment or None
    message = C_ECHO_RSP()
    message.primitive_to_message(primitive)
    [whole] = message.encode_msg(context_id=1, max_pdu_length=0)
    [(_, fragment)] = whole.presentation_data_value_list
    return bytes(fragment[1:])  # without the message control header, which goes with the PDU


def _elements(data: bytes | bytearray) -> dict[int, bytes]:
    found, position = {}, 0
    while position < len(data):
        if len(data) - position < ELEMENT.size:
            raise Broken(Why.INVALID_PARAMETER, "sent a damaged command set")
        group, number, length = ELEMENT.unpack_from(data, position)
        position += ELEMENT.size
        if group or length > len(data) - position:
            raise Broken(Why.INVALID_PARAMETER, "sent a damaged command set")
        found[number] = bytes(data[position : position + length])
        position += length
    return found


def _first(elements: dict[int, bytes], *numbers: int) -> bytes:
    return next((elements[number] for number in numbers if number in elements), b"")


def _number(elements: dict[int, bytes], number: int) -> int:
    value = elements.get(number, b"")
    if len(value) != 2:
        raise Broken(Why.INVALID_PARAMETER, f"sent a command without (0000,{number:04X})")
    return int.from_bytes(value, "little")


def _repeatable(uid: bytes) -> bytes:
    text = uid.rstrip(b"\0 ")
    return _even(text, b"\0") if is_uid(text) else b""


def _short(number: int) -> bytes:
    return number.to_bytes(2, "little")


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding * (len(value) % 2)
