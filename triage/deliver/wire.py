"""What the delivering process and its child say to each other: a JSON object and bytes."""

import json
import socket
import struct
import time
from typing import Any, Final

_HEAD: Final = struct.Struct(">IQ")


def write(
    link: socket.socket,
    message: dict[str, Any],
    content: bytes = b"",
    *,
    until: float | None = None,
) -> None:
    """Send one message, before ``until`` on the monotonic clock.

    Raises:
        TimeoutError: the other side did not take it in time.
        OSError: it is gone.
    """
    body = json.dumps(message).encode()
    _limit(link, until)
    link.sendall(_HEAD.pack(len(body), len(content)) + body)
    _limit(link, until)
    link.sendall(content)


def read(link: socket.socket, *, until: float | None = None) -> tuple[dict[str, Any], bytes]:
    """Receive one message.

    Raises:
        TimeoutError: nothing whole came in time.
        EOFError: the other side is gone.
    """
    of_body, of_content = _HEAD.unpack(_exactly(link, _HEAD.size, until))
    message = json.loads(_exactly(link, of_body, until))
    return message, _exactly(link, of_content, until)


def _exactly(link: socket.socket, count: int, until: float | None) -> bytes:
    content = bytearray(count)
    rest = memoryview(content)
    while rest:
        _limit(link, until)
        received = link.recv_into(rest)
        if not received:
            raise EOFError
        rest = rest[received:]
    return bytes(content)


def _limit(link: socket.socket, until: float | None) -> None:
    if until is None:
        link.settimeout(None)
        return
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    link.settimeout(left)
