"""Where connections wait until they have said who they are.

One thread accepts and reads every A-ASSOCIATE-RQ without blocking, so a peer that connects and
says nothing, or says it a byte a second, costs a descriptor and nothing else. Only a whole
request that is let in gets a place and a thread. A TLS handshake is done here as well, in steps,
so a peer that does not go on with it costs as little.
"""

import errno
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from triage import log
from triage.receive.negotiation import Rejection
from triage.receive.pdu import HEADER, LINGER_BYTES, LINGER_S, Broken, Pdu, Why, where
from triage.receive.request import AssociateRequest, read_request
from triage.receive.tls import Gate, Secured, has_pending
from triage.settings import Listener as Limits
from triage.spool import Journal
from triage.tls import reason

MAX_VISITORS: Final = 128
MAX_VISITORS_PER_ADDRESS: Final = 48
"""When there are more, the one that has waited longest goes: an honest one waits milliseconds."""
PATIENCE_S: Final = 0.25
"""Nobody goes sooner for its address alone: a gateway may call a hundred times at once."""
MAX_ACCEPTS_AT_ONCE: Final = 32
TICK_S: Final = 0.25
CHUNK_BYTES: Final = 65_536

Decide = Callable[[socket.socket, tuple[str, int], AssociateRequest], Rejection | None]
"""Take the connection over and give None, or tell why not. Never raises."""


@dataclass(eq=False, slots=True)
class Visitor:
    """A connection that has not associated."""

    socket: socket.socket
    address: str
    port: int
    deadline: float
    since: float
    buffer: bytearray = field(default_factory=bytearray)
    need: int = HEADER.size
    heard: int = 0
    greeting: bool = False
    """Is in its TLS handshake."""
    leaving: bool = False
    """Was answered, and is read only until it closes, so that the answer is not overtaken."""


class Lobby:
    """The accepting side of a listening socket."""

    def __init__(
        self,
        server: socket.socket,
        limits: Limits,
        journal: Journal,
        decide: Decide,
        gate: Gate | None = None,
    ) -> None:
        """Take over a listening socket; with a gate it speaks TLS."""
        self._server = server
        self._gate = gate
        self._limits = limits
        self._journal = journal
        self._decide = decide
        self._visitors: dict[socket.socket, Visitor] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(server, selectors.EVENT_READ)

    def run(self, stop: int) -> None:
        """Accept until the descriptor ``stop`` is readable, then close everything here."""
        self._selector.register(stop, selectors.EVENT_READ)
        try:
            while True:
                ready = [key.fileobj for key, _ in self._selector.select(TICK_S)]
                if stop in ready:
                    return
                for one in ready:  # before others come in, or a crowd would push out who has spoken
                    if visitor := self._visitors.get(one):  # type: ignore[call-overload]
                        self._hear_safely(visitor)
                if self._server in ready:
                    self._accept()
                self._expire()
        finally:
            self._server.close()
            for visitor in list(self._visitors.values()):
                self._drop(visitor)
            self._selector.close()

    def _accept(self) -> None:
        for _ in range(MAX_ACCEPTS_AT_ONCE):
            try:
                peer, address = self._server.accept()
            except BlockingIOError:
                return
            except OSError as why:
                if why.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._journal.note("limit.descriptors")
                    self._make_room(None)
                return
            self._welcome(peer, address[0], address[1])

    def _welcome(self, peer: socket.socket, address: str, port: int) -> None:
        same = [one for one in self._visitors.values() if one.address == address]
        if len(same) >= MAX_VISITORS_PER_ADDRESS and self._has_waited(same[0]):
            self._make_room(address)
        elif len(self._visitors) >= MAX_VISITORS:
            self._make_room(None)
        peer.settimeout(0)
        with suppress(OSError):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        since = time.monotonic()
        deadline = since + self._limits.connect_timeout_s
        if self._gate is not None:
            try:
                peer = self._gate.wrap(peer)
            except OSError:  # it has gone
                peer.close()
                return
        greeting = self._gate is not None
        self._visitors[peer] = Visitor(peer, address, port, deadline, since, greeting=greeting)
        self._selector.register(peer, selectors.EVENT_READ)

    def _has_waited(self, visitor: Visitor) -> bool:
        return time.monotonic() - visitor.since > PATIENCE_S

    def _make_room(self, address: str | None) -> None:
        """Drop who has waited longest, of one address or of all."""
        for visitor in self._visitors.values():
            if address in (None, visitor.address):
                self._journal.note("limit.connections", address=visitor.address)
                self._drop(visitor)
                return

    def _hear_safely(self, visitor: Visitor) -> None:
        try:
            if visitor.greeting and not self._greet(visitor):
                return
            self._hear(visitor)
            while visitor.socket in self._visitors and has_pending(visitor.socket):
                self._hear(visitor)
        except Exception as why:  # noqa: BLE001 - a bug of ours costs one visitor, not the door
            log.get().error("lobby.bug", where=where(why), error=type(why).__name__)
            self._drop(visitor)

    def _greet(self, visitor: Visitor) -> bool:
        """Go on with a TLS handshake; tells whether it is over."""
        assert isinstance(visitor.socket, Secured)  # noqa: S101 - for the type checker
        try:
            visitor.greeting = not visitor.socket.greet()
        except OSError as why:
            visitor.greeting = False
            self._journal.note("tls.refused", code=reason(why), address=visitor.address)
            self._dismiss(visitor, b"")
            return False
        return not visitor.greeting

    def _hear(self, visitor: Visitor) -> None:
        try:
            need = visitor.need - len(visitor.buffer)
            data = visitor.socket.recv(CHUNK_BYTES if visitor.leaving else min(need, CHUNK_BYTES))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        visitor.heard += len(data)
        if not data or (visitor.leaving and visitor.heard > LINGER_BYTES):
            self._drop(visitor)
        elif not visitor.leaving:
            visitor.buffer += data
            try:
                self._read(visitor)
            except Broken as why:
                self._journal.note("protocol.broken", code=str(why), address=visitor.address)
                self._dismiss(visitor, why.pdu)

    def _read(self, visitor: Visitor) -> None:
        if len(visitor.buffer) < visitor.need:
            return
        if visitor.need == HEADER.size:
            visitor.need += self._length(visitor.buffer)
            if len(visitor.buffer) < visitor.need:
                return
        request = read_request(bytes(visitor.buffer[HEADER.size :]))
        self._forget(visitor)
        rejection = self._decide(visitor.socket, (visitor.address, visitor.port), request)
        if rejection is None:
            return
        self._visitors[visitor.socket] = visitor
        self._selector.register(visitor.socket, selectors.EVENT_READ)
        self._journal.note(
            "association.rejected",
            code=rejection.name,
            ae_title=request.calling_ae_title,
            address=visitor.address,
        )
        self._dismiss(visitor, rejection.pdu)

    def _length(self, buffer: bytearray) -> int:
        kind, length = HEADER.unpack_from(buffer)
        if kind != Pdu.ASSOCIATE_RQ:
            known = kind in set(Pdu)
            raise Broken(Why.UNEXPECTED_PDU if known else Why.UNRECOGNISED_PDU, "sent no request")
        if length > self._limits.max_associate_pdu_bytes:
            raise Broken(Why.INVALID_PARAMETER, "sent a request beyond the limit")
        return int(length)

    def _dismiss(self, visitor: Visitor, pdu: bytes) -> None:
        """Answer, and stay a moment for the peer to read it."""
        visitor.leaving = True
        visitor.heard = 0
        visitor.buffer = bytearray()
        visitor.deadline = time.monotonic() + LINGER_S
        try:
            if pdu:
                visitor.socket.send(pdu)
            visitor.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(visitor)

    def _expire(self) -> None:
        now = time.monotonic()
        for visitor in [one for one in self._visitors.values() if one.deadline < now]:
            if not visitor.leaving:
                self._journal.note("connection.silent", address=visitor.address)
            self._drop(visitor)

    def _drop(self, visitor: Visitor) -> None:
        self._forget(visitor)
        visitor.socket.close()

    def _forget(self, visitor: Visitor) -> None:
        if self._visitors.pop(visitor.socket, None) is not None:
            self._selector.unregister(visitor.socket)
