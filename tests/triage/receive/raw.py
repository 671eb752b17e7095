"""A DIMSE peer that does what it is told, right or wrong, on a plain socket."""

import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = str(ExplicitVRLittleEndian)
CT = str(CTImageStorage)
ABORT, RELEASE_RQ, RELEASE_RP, ACCEPT, REJECT = 7, 5, 6, 2, 3
Contexts = Sequence[tuple[str, Sequence[str]]]


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def pdu(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(content)) + content


def associate_rq(
    contexts: Contexts,
    calling: bytes = b"PEER",
    called: bytes = b"TRIAGE",
    user: bytes = b"",
    max_pdu: int = 16384,
) -> bytes:
    """Build an A-ASSOCIATE-RQ; context IDs are 1, 3, 5 and so on."""
    fixed = b"\0\x01\0\0" + called.ljust(16)[:16] + calling.ljust(16)[:16] + bytes(32)
    items = item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, (abstract, syntaxes) in enumerate(contexts):
        inner = item(0x30, abstract.encode()) + b"".join(
            item(0x40, syntax.encode()) for syntax in syntaxes
        )
        items += item(0x20, bytes((2 * number + 1, 0, 0, 0)) + inner)
    items += item(0x50, item(0x51, struct.pack(">I", max_pdu)) + item(0x52, b"1.2.3") + user)
    return pdu(1, fixed + items)


def element(number: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def command(field: int, sop_class: bytes, sop_instance: bytes = b"", *, data: bool) -> bytes:
    elements = element(0x0002, sop_class) + element(0x0100, struct.pack("<H", field))
    elements += element(0x0110, struct.pack("<H", 7))
    elements += element(0x0700, struct.pack("<H", 0))
    elements += element(0x0800, struct.pack("<H", 0 if data else 0x0101))
    if sop_instance:
        elements += element(0x1000, sop_instance)
    return element(0, struct.pack("<I", len(elements))) + elements


def pdv(context_id: int, control: int, fragment: bytes) -> bytes:
    return struct.pack(">IBB", len(fragment) + 2, context_id, control) + fragment


def p_data(*pdvs: bytes) -> bytes:
    return pdu(4, b"".join(pdvs))


class Peer:
    """A socket with a DICOM accent."""

    def __init__(self, port: int, source: str = "127.0.0.1", timeout: float = 20.0) -> None:
        self.socket = socket.create_connection(
            ("127.0.0.1", port), timeout=timeout, source_address=(source, 0)
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> tuple[int, bytes]:
        """Give the next PDU's type and content; (0, b"") when the connection has ended."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxI", head)
        return kind, self._exactly(length)

    def associate(self, contexts: Contexts, **how: bytes) -> bytes:
        """Associate and give the accepted contexts' IDs as bytes."""
        self.send(associate_rq(contexts, **how))  # type: ignore[arg-type]
        kind, content = self.receive()
        assert kind == ACCEPT, (kind, content)
        return bytes(number for number, result in results(content).items() if result == 0)

    def store(
        self,
        data: bytes,
        sop_instance: bytes,
        *,
        sop_class: bytes = CT.encode(),
        context_id: int = 1,
        fragment: int = 16000,
    ) -> int:
        """Send one instance and give the status; -1 when the association ended instead."""
        self.send(store_rq(data, sop_instance, sop_class, context_id, fragment))
        return self.status()

    def status(self) -> int:
        kind, content = self.receive()
        return status_of(content) if kind == 4 else -1

    def echo(self, context_id: int = 1) -> int:
        self.send(p_data(pdv(context_id, 3, command(0x30, VERIFICATION.encode(), data=False))))
        return self.status()

    def release(self) -> bool:
        self.send(pdu(RELEASE_RQ, bytes(4)))
        return self.receive()[0] == RELEASE_RP

    def is_closed_within(self, seconds: float) -> bool:
        """Read on until the end, and tell whether it came in time."""
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                self.socket.settimeout(max(0.001, deadline - time.monotonic()))
                if not self.socket.recv(65536):
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True
        return False

    def close(self) -> None:
        self.socket.close()

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except ConnectionError:
                return data
            if not more:
                return data
            data += more
        return data


def store_rq(
    data: bytes,
    sop_instance: bytes,
    sop_class: bytes = CT.encode(),
    context_id: int = 1,
    fragment: int = 16000,
) -> bytes:
    """Build a whole C-STORE-RQ."""
    message = p_data(pdv(context_id, 3, command(1, sop_class, sop_instance, data=True)))
    starts = range(0, len(data), fragment) or range(1)
    for start in starts:
        last = 2 if start + fragment >= len(data) else 0
        message += p_data(pdv(context_id, last, data[start : start + fragment]))
    return message


def results(accept: bytes) -> dict[int, int]:
    """Give each context's result out of an A-ASSOCIATE-AC's content."""
    found, position = {}, 68
    while position < len(accept):
        kind, length = struct.unpack_from(">BxH", accept, position)
        value = accept[position + 4 : position + 4 + length]
        if kind == 0x21:
            found[value[0]] = value[2]
        position += 4 + length
    return found


def status_of(content: bytes) -> int:
    """Give the status out of a response's P-DATA content."""
    fields = elements_of(content[6:])
    return int.from_bytes(fields[0x0900], "little")


def elements_of(data: bytes) -> dict[int, bytes]:
    found, position = {}, 0
    while position < len(data):
        _, number, length = struct.unpack_from("<HHI", data, position)
        found[number] = data[position + 8 : position + 8 + length]
        position += 8 + length
    return found


@contextmanager
def peer(port: int, source: str = "127.0.0.1") -> Iterator[Peer]:
    one = Peer(port, source)
    try:
        yield one
    finally:
        one.close()


def rejection(
    port: int, contexts: Contexts, source: str = "127.0.0.1", **titles: bytes
) -> tuple[int, ...] | None:
    """Ask to associate; give result, source and reason, or None when accepted.

    Read from the wire: pynetdicom calls a rejection an abort when the end comes close behind it.
    """
    with peer(port, source) as one:
        one.send(associate_rq(contexts, **titles))  # type: ignore[arg-type]
        kind, content = one.receive()
        assert kind in (ACCEPT, REJECT)
        return tuple(content[1:4]) if kind == REJECT else None


def echo_ms(port: int, source: str = "127.0.0.1") -> float:
    """Connect, associate, C-ECHO and release; give how long that took."""
    started = time.perf_counter()
    with peer(port, source) as one:
        one.associate([(VERIFICATION, [IMPLICIT])])
        assert one.echo() == 0
        assert one.release()
    return (time.perf_counter() - started) * 1000
