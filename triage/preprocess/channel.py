"""JSON lines over a local socket, with room for one open file: how parent and child talk."""

import json
import socket
import time
from typing import Any, Final

_CHUNK: Final = 1 << 16
MAX_LINE_BYTES: Final = 1 << 24


class Closed(Exception):
    """The other side is gone, or says things no honest side would say."""


class Channel:
    """One end of the conversation. A message is one JSON object on one line."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._rest = bytearray()
        self._searched = 0
        self._files: list[int] = []

    def send(self, message: dict[str, Any], *, file: int | None = None) -> None:
        """Send one message, and the open file ``file`` with it.

        Raises:
            Closed: nobody listens any more.
        """
        line = json.dumps(message).encode() + b"\n"
        try:
            sent = socket.send_fds(self._socket, [line], [] if file is None else [file])
            if sent < len(line):
                self._socket.sendall(line[sent:])
        except OSError as why:
            raise Closed from why

    def receive(self, *, deadline: float | None = None) -> tuple[dict[str, Any], int | None]:
        """Wait for one message and the file that came with it, until ``deadline`` (monotonic, s).

        Raises:
            Closed: the other side ended, or sent no JSON object.
            TimeoutError: the deadline passed.
        """
        while (end := self._rest.find(b"\n", self._searched)) < 0:
            self._searched = len(self._rest)
            self._more(deadline)
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        self._searched = 0
        try:
            message = json.loads(line)
        except ValueError as why:
            raise Closed from why
        if not isinstance(message, dict):
            raise Closed
        return message, self._files.pop() if self._files else None

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _more(self, deadline: float | None) -> None:
        if len(self._rest) > MAX_LINE_BYTES:
            raise Closed
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        try:
            read, files, _, _ = socket.recv_fds(self._socket, _CHUNK, 1)
        except TimeoutError:
            raise
        except OSError as why:
            raise Closed from why
        self._files += files
        if not read:
            raise Closed
        self._rest += read
