"""A PACS that stops in the middle of an object: a real one, stopped once enough has passed."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.servers import Scp

ENOUGH_BYTES = 1_000_000


@contextmanager
def stopping_midway(scp: Scp) -> Iterator[int]:
    """Give a port that leads to ``scp``, which gets SIGSTOP after the first megabyte."""
    listener = socket.create_server(("127.0.0.1", 0))
    ends: list[socket.socket] = [listener]
    threading.Thread(target=_serve, args=(listener, scp, ends), daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(ProcessLookupError):
            os.kill(scp.process.pid, signal.SIGCONT)
        for one in ends:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def _serve(listener: socket.socket, scp: Scp, ends: list[socket.socket]) -> None:
    with suppress(OSError):
        near, _ = listener.accept()
        far = socket.create_connection(("127.0.0.1", scp.port))
        ends += [near, far]
        threading.Thread(target=_pump, args=(far, near, None), daemon=True).start()
        _pump(near, far, scp.process.pid)


def _pump(source: socket.socket, sink: socket.socket, stop_pid: int | None) -> None:
    passed = 0
    with suppress(OSError):
        while chunk := source.recv(65536):
            passed += len(chunk)
            if stop_pid is not None and passed > ENOUGH_BYTES:
                os.kill(stop_pid, signal.SIGSTOP)
            sink.sendall(chunk)
