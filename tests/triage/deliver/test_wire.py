"""The words between the delivering process and its child."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from triage.deliver import wire

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def test_what_is_written_is_read(pair: Pair) -> None:
    content = bytes(range(256)) * 10_000
    writer = threading.Thread(target=wire.write, args=(pair[0], {"name": "Zoë"}, content))
    writer.start()
    assert wire.read(pair[1], until=time.monotonic() + 5) == ({"name": "Zoë"}, content)
    writer.join()


def test_messages_do_not_run_together(pair: Pair) -> None:
    wire.write(pair[0], {"n": 1}, b"one")
    wire.write(pair[0], {"n": 2})
    assert wire.read(pair[1]) == ({"n": 1}, b"one")
    assert wire.read(pair[1]) == ({"n": 2}, b"")


def test_silence_is_a_timeout(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        wire.read(pair[1], until=time.monotonic() + 0.05)
    with pytest.raises(TimeoutError):
        wire.read(pair[1], until=time.monotonic() - 1)


def test_an_unread_message_is_a_timeout(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        wire.write(pair[0], {}, bytes(50_000_000), until=time.monotonic() + 0.1)


def test_a_closed_other_side_is_the_end(pair: Pair) -> None:
    pair[0].sendall(b"\0\0")
    pair[0].close()
    with pytest.raises(EOFError):
        wire.read(pair[1])
