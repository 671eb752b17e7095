"""A wire between us and a PACS that breaks as a test tells it to."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends RST."""


@dataclass
class Wire:
    """How it breaks; ``heal`` mends it."""

    cut_after_bytes: int | None = None
    """Of what we send."""
    mute: Callable[[], bool] = lambda: False
    """While it says yes, an answer of the PACS is lost, and the connection with it."""
    hang: bool = False
    """Take the connection and pass nothing on."""
    port: int = 0
    lost: int = 0
    """Connections broken."""
    ends: list[socket.socket] = field(default_factory=list)

    def heal(self) -> None:
        self.cut_after_bytes, self.mute, self.hang = None, lambda: False, False


@contextmanager
def wire(to_port: int, **faults: object) -> Iterator[Wire]:
    """Run the wire to a port on this host; ``port`` is its own, by default a free one."""
    one = Wire(**faults)  # type: ignore[arg-type]
    listener = socket.create_server(("127.0.0.1", one.port))
    one.port = listener.getsockname()[1]
    one.ends.append(listener)
    threading.Thread(target=_accept, args=(listener, to_port, one), daemon=True).start()
    try:
        yield one
    finally:
        for end in one.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _accept(listener: socket.socket, to_port: int, one: Wire) -> None:
    with suppress(OSError):
        while True:
            near, _ = listener.accept()
            one.ends.append(near)
            if one.hang:
                continue
            far = socket.create_connection(("127.0.0.1", to_port))
            one.ends.append(far)
            for pump in ((near, far, True), (far, near, False)):
                threading.Thread(target=_pump, args=(*pump, one), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, ours: bool, one: Wire) -> None:
    passed = 0
    with suppress(OSError):
        while chunk := source.recv(4096):
            passed += len(chunk)
            cut = ours and one.cut_after_bytes is not None and passed > one.cut_after_bytes
            if cut or (not ours and one.mute()):
                one.lost += 1
                for end in (source, sink):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    end.close()
                return
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
