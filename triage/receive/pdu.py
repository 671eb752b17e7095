"""The upper layer's PDUs on a socket, and no wait without a deadline (PS3.8 9.3).

The association is served by one thread that reads, stores and answers in turn. That is why a
peer can neither fill a queue nor be answered before its bytes are safe, and why a byte that
does not come costs one sleeping thread and not a busy one.
"""

import logging
import select
import socket
import ssl
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from enum import IntEnum, StrEnum
from pathlib import Path
from struct import Struct
from typing import Final

from pynetdicom import _config
from pynetdicom.pdu import A_ABORT_RQ, A_RELEASE_RP
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, A_RELEASE

from triage.errors import TriageError
from triage.receive.tls import has_pending
from triage.settings import Listener as Limits

HEADER: Final = Struct(">BxI")
PDV_HEADER: Final = Struct(">IBB")
CONTROL_PDU_BYTES: Final = 4
QUICK_ACK: Final = getattr(socket, "TCP_QUICKACK", None)
IN_PLACE_BYTES: Final = 32_768
"""A fragment this long is put where it belongs as it is read; shorter ones come many at once."""
AHEAD_BYTES: Final = 64
"""So much is read of what follows one: the next one's header."""
LITTLE_BYTES: Final = 4096
LINGER_S: Final = 1.0
LINGER_BYTES: Final = 1_048_576

_config.LOG_HANDLER_LEVEL = "none"
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # its errors quote peers


class Pdu(IntEnum):
    """PDU types (PS3.8 Table 9-1)."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class Why(IntEnum):
    """Reasons of an A-ABORT by the service provider (PS3.8 Table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNISED_PDU = 1
    UNEXPECTED_PDU = 2
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


def _release_rp() -> bytes:
    release = A_RELEASE()
    release.result = "affirmative"
    return A_RELEASE_RP(release).encode()


def _abort_by_user() -> bytes:
    abort = A_ABORT()
    abort.abort_source = 0
    return A_ABORT_RQ(abort).encode()


RELEASE_RP: Final = _release_rp()
ABORT_BY_USER: Final = _abort_by_user()


class Broken(TriageError):
    """The peer broke the protocol: it is answered with an A-ABORT and the association ends."""

    def __init__(self, why: Why, what: str) -> None:
        abort = A_P_ABORT()
        abort.provider_reason = why
        self.pdu: bytes = A_ABORT_RQ(abort).encode()
        super().__init__(what)


class How(StrEnum):
    """How a connection ended without us."""

    CLOSED = "closed by the peer"
    RESET = "reset"
    IDLE = "idle for too long"
    HALF_SENT = "left a PDU half sent"
    NOT_TAKEN = "does not take our answer"


class Gone(TriageError):
    """There is nobody to answer: the connection was closed, was reset, or missed a deadline."""

    def __init__(self, how: How) -> None:
        self.how = how
        super().__init__(how)


class Stopping(TriageError):
    """We are asked to stop, and no message is under way."""


Value = tuple[int, int, memoryview]
"""Context ID, message control header and fragment (PS3.8 9.3.5.1)."""
Place = Callable[[int, int, int], memoryview | None]
"""Gives, for a context ID, a message control header and a length, where a fragment is to lie."""


class Wire:
    """One peer's socket, its PDUs read through one reused buffer, long fragments past it."""

    def __init__(self, peer: socket.socket, limits: Limits, stop: int) -> None:
        """Take over a connected socket. ``stop`` is a descriptor that is readable at the end."""
        peer.settimeout(0)
        self._socket = peer
        self._limits = limits
        self._buffer = memoryview(bytearray(2 * (limits.max_pdu_bytes + HEADER.size)))
        self._start = 0
        self._end = 0
        self._gulp = LITTLE_BYTES
        self._scatters = not isinstance(peer, ssl.SSLSocket)
        self._readable = select.poll()
        self._readable.register(peer, select.POLLIN)
        self._readable_or_stop = select.poll()
        self._readable_or_stop.register(peer, select.POLLIN)
        self._readable_or_stop.register(stop, select.POLLIN)
        self._stop = stop

    def read(self, place: Place, *, between_messages: bool) -> tuple[Pdu, Iterable[Value]]:
        """Give the next PDU's type and what data it brings, which are ours until the next call.

        ``place`` is asked for long fragments; what it gives is then the fragment.

        Raises:
            Broken: it is too long, unknown, damaged, or not for a peer of ours to send.
            Gone: it did not come, or did not come in time.
            Stopping: only between messages.
        """
        if between_messages or self._start == self._end:
            self._wait(between_messages=between_messages)
        deadline = time.monotonic() + self._limits.pdu_timeout_s
        self._fill(HEADER.size, deadline)
        kind, length = HEADER.unpack_from(self._buffer, self._start)
        self._check(kind, length)
        self._start += HEADER.size
        if kind == Pdu.P_DATA and length >= IN_PLACE_BYTES:
            value = self._read_in_place(place, length, deadline)
            if value is not None:
                return Pdu.P_DATA, (value,)
        if length > LITTLE_BYTES:
            self._gulp = len(self._buffer)
        self._fill(length, deadline)
        self._start += length
        content = self._buffer[self._start - length : self._start]
        return Pdu(kind), presentation_data(content) if kind == Pdu.P_DATA else ()

    def send(self, data: bytes) -> None:
        """Send all of it, within the time a PDU has.

        Raises:
            Gone: the peer does not take it.
        """
        deadline = time.monotonic() + self._limits.pdu_timeout_s
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                writable = select.poll()
                writable.register(self._socket, select.POLLOUT)
                _await(writable, deadline, How.NOT_TAKEN)
            except OSError:
                raise Gone(How.RESET) from None

    def close(self) -> None:
        """Close so that what was sent last arrives: a reset would overtake it."""
        deadline, heard, count = time.monotonic() + LINGER_S, 0, 1
        with suppress(OSError, Gone):
            self._socket.shutdown(socket.SHUT_WR)
            while count and heard < LINGER_BYTES:
                _await(self._readable, deadline, How.IDLE)
                count = self._socket.recv_into(self._buffer)
                heard += count
        self._socket.close()

    def _wait(self, *, between_messages: bool) -> None:
        """Wait for a PDU's first byte; where one is here already, only look for the stop."""
        has_come = self._start != self._end or has_pending(self._socket)
        poll = self._readable_or_stop if between_messages else self._readable
        events = dict(poll.poll(0 if has_come else self._limits.idle_timeout_s * 1000))
        if self._stop in events:
            raise Stopping
        if not events and not has_come:
            raise Gone(How.IDLE)

    def _read_in_place(self, place: Place, length: int, deadline: float) -> Value | None:
        """Read a PDU of one long fragment to where that belongs; None where it is none of these."""
        self._fill(PDV_HEADER.size, deadline)
        whole, context_id, control = PDV_HEADER.unpack_from(self._buffer, self._start)
        if whole + 4 != length:
            return None
        fragment = place(context_id, control, whole - 2)
        if fragment is None:
            return None
        self._start += PDV_HEADER.size
        self._gulp = LITTLE_BYTES
        have = min(len(fragment), self._end - self._start)
        fragment[:have] = self._buffer[self._start : self._start + have]
        self._start += have
        ahead = [self._buffer[:AHEAD_BYTES]] if self._scatters else []
        while have < len(fragment):  # so nothing is left in the buffer
            count = self._receive([fragment[have:], *ahead], deadline)
            over = max(0, have + count - len(fragment))
            self._start, self._end = 0, over
            have += count - over
        return context_id, control, fragment

    def _fill(self, need: int, deadline: float) -> None:
        """Have ``need`` bytes from ``start`` on, and take what else has come."""
        if self._start + need > len(self._buffer) or self._start == self._end:
            kept = self._end - self._start
            self._buffer[:kept] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, kept
        while self._end - self._start < need:
            most = max(self._gulp, need)
            self._end += self._receive([self._buffer[self._end : self._end + most]], deadline)

    def _receive(self, places: list[memoryview], deadline: float) -> int:
        """Read what has come, at least a byte, into the first of these and what follows."""
        while True:
            try:
                if len(places) == 1:
                    count = self._socket.recv_into(places[0])
                else:
                    count = self._socket.recvmsg_into(places)[0]
            except BlockingIOError:
                self._hurry()
                _await(self._readable, deadline, How.HALF_SENT)
                continue
            except OSError:
                raise Gone(How.RESET) from None
            if not count:
                raise Gone(How.CLOSED)
            return count

    def _hurry(self) -> None:
        """Acknowledge at once what has come: a sender with Nagle's algorithm waits for it.

        Most modalities are such, and write a PDU in two parts; the kernel would let the second
        one wait 40 ms. It forgets the wish after a while.
        """
        if QUICK_ACK is not None:
            with suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)

    def _check(self, kind: int, length: int) -> None:
        if kind == Pdu.P_DATA:
            most = self._limits.max_pdu_bytes
        elif kind in (Pdu.RELEASE_RQ, Pdu.ABORT):
            most = CONTROL_PDU_BYTES
        elif kind in (Pdu.ASSOCIATE_RQ, Pdu.ASSOCIATE_AC, Pdu.ASSOCIATE_RJ, Pdu.RELEASE_RP):
            raise Broken(Why.UNEXPECTED_PDU, "sent an unexpected PDU")
        else:
            raise Broken(Why.UNRECOGNISED_PDU, "sent an unknown PDU")
        if length > most:
            raise Broken(Why.INVALID_PARAMETER, "sent a PDU beyond the limit")


def _await(poll: select.poll, deadline: float, otherwise: How) -> None:
    left_s = deadline - time.monotonic()
    if left_s <= 0 or not poll.poll(left_s * 1000):
        raise Gone(otherwise)


def presentation_data(content: memoryview) -> Iterator[Value]:
    """Give each value of a P-DATA.

    Raises:
        Broken: the lengths do not add up.
    """
    position = 0
    while position < len(content):
        if len(content) - position < PDV_HEADER.size:
            raise Broken(Why.INVALID_PARAMETER, "sent a damaged P-DATA")
        length, context_id, control = PDV_HEADER.unpack_from(content, position)
        end = position + 4 + length
        if length < 2 or end > len(content):
            raise Broken(Why.INVALID_PARAMETER, "sent a damaged P-DATA")
        yield context_id, control, content[position + PDV_HEADER.size : end]
        position = end


def data_pdus(context_id: int, command: bytes, max_pdu_bytes: int) -> bytes:
    """Give a command set without data set as P-DATA, in PDUs no longer than the peer takes."""
    room = max(2, (max_pdu_bytes or len(command) + PDV_HEADER.size) - PDV_HEADER.size)
    pdus = []
    for start in range(0, len(command), room):
        fragment = command[start : start + room]
        control = 3 if start + room >= len(command) else 1
        pdv = PDV_HEADER.pack(len(fragment) + 2, context_id, control) + fragment
        pdus.append(HEADER.pack(Pdu.P_DATA, len(pdv)) + pdv)
    return b"".join(pdus)


def where(why: BaseException) -> str:
    """Give file and line of a bug. Its message stays away from the log: it may quote a value."""
    frames = traceback.extract_tb(why.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
