"""To a RIS or an interface engine: HL7 v2 over MLLP, one connection and one ACK a message.

The control id (MSH-10) is the document's, so a message sent again after silence is the same one
to its receiver. The fates of an acknowledgement are HL7 v2.5.1 tables 0008 and 0357.
"""

import asyncio
from contextlib import suppress
from typing import Final

import hl7
from hl7.mllp import InvalidBlockError, open_hl7_connection

from triage.deliver.credentials import trust
from triage.destinations import Mllp
from triage.errors import Broken, InDoubt, TryAgain
from triage.finding import Document
from triage.outputs.hl7_words import text

SHARE: Final = 0.9
"""Of the deadline: so the sending process need not be ended for a receiver that is silent."""
CONNECT_S: Final = 5.0
CLOSE_S: Final = 0.5
STORED: Final = 0
_ACCEPTED: Final = frozenset({"AA", "CA"})
_REJECTED: Final = frozenset({"AR", "CR"})
_DUPLICATE: Final = 205
_MEANING: Final = {
    100: "segment sequence error",
    101: "required field missing",
    102: "data type error",
    103: "table value not found",
    200: "unsupported message type",
    201: "unsupported event code",
    202: "unsupported processing id",
    203: "unsupported version id",
    204: "unknown key identifier",
    _DUPLICATE: "duplicate key identifier",
    206: "application record locked",
    207: "application internal error",
}
"""Table 0357. What is below 204 is about the message's form, and will not get better."""
_LAST_OF_FORM: Final = 203


def store(document: Document, to: Mllp) -> int:
    """Send the message and wait for its acknowledgement; gives 0.

    Raises:
        InDoubt: the message left, but no acknowledgement of it came.
        TryAgain: nobody there, or an application error (AE) that may pass.
        Broken: the receiver rejects the message (AR, or an error of its form).
    """
    content = _addressed(document.content, to)
    return _fate(asyncio.run(_exchange(content, to)), _control_id(content), to)


def _addressed(content: bytes, to: Mllp) -> bytes:
    """Name the receiver in MSH-5 and MSH-6."""
    head, end, rest = content.partition(b"\r")
    fields = head.decode().split("|")
    fields[4:6] = [text(to.receiving_application), text(to.receiving_facility)]
    return "|".join(fields).encode() + end + rest


def _control_id(content: bytes) -> str:
    return content.partition(b"\r")[0].decode().split("|")[9]


async def _exchange(content: bytes, to: Mllp) -> bytes:
    tls = trust(to) if to.tls or to.ca_file or to.certificate_file else None
    try:
        async with asyncio.timeout(min(CONNECT_S, to.deadline_s * SHARE)):
            reader, writer = await open_hl7_connection(to.host, to.port, ssl=tls)
    except (OSError, TimeoutError) as why:
        msg = f"{to.name}: no connection to {to.host}:{to.port} ({type(why).__name__})"
        raise TryAgain(msg) from None
    try:
        async with asyncio.timeout(to.deadline_s * SHARE):
            writer.writeblock(content)
            await writer.drain()
            return bytes(await reader.readblock())
    except (OSError, TimeoutError, EOFError, ValueError, InvalidBlockError) as why:
        msg = f"{to.name}: no acknowledgement ({type(why).__name__}); it may have arrived"
        raise InDoubt(msg) from None
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await writer.wait_closed()


def _fate(answer: bytes, control_id: str, to: Mllp) -> int:
    try:
        ack = hl7.parse(answer.decode("utf-8", errors="replace"))
        code, of_message = str(ack.segment("MSA")(1)), str(ack.segment("MSA")(2))
    except (hl7.HL7Exception, LookupError, ValueError) as why:
        msg = f"{to.name}: the answer is no acknowledgement ({type(why).__name__})"
        raise InDoubt(msg) from None
    if of_message != control_id:
        msg = f"{to.name}: the acknowledgement is of another message"
        raise InDoubt(msg)
    error = _error(ack)
    if code in _ACCEPTED or error == _DUPLICATE:
        return STORED
    words = f"{to.name} answered {code if code.isalpha() else 'no code'}"
    if error is not None:
        words = f"{words}, {error} {_MEANING[error]}"
    rejected = code in _REJECTED and error is None
    if rejected or (error is not None and error <= _LAST_OF_FORM):
        raise Broken(code="refused", detail=words)
    raise TryAgain(words)


def _error(ack: hl7.Message) -> int | None:
    """Give ERR-3's code, or MSA-6's of older receivers; never their free text."""
    for path in (("ERR", 3), ("MSA", 6)):
        try:
            value = str(ack.extract_field(path[0], 1, path[1], 1, 1))
        except (LookupError, ValueError):
            continue
        if value.isdecimal() and int(value) in _MEANING:
            return int(value)
    return None
