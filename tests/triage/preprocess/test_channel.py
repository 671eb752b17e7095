"""JSON lines and files over a socket."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from triage.preprocess.channel import MAX_LINE_BYTES, Channel, Closed


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    with theirs:
        channel = Channel(ours)
        yield channel, theirs
        channel.close()


def test_a_message_arrives_whole_however_it_is_cut(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    for piece in (b'{"a":', b" 1", b'}\n{"b": 2}\n'):
        other.sendall(piece)
    assert channel.receive() == ({"a": 1}, None)
    assert channel.receive() == ({"b": 2}, None)


def test_a_large_message_arrives(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    message = {"files": ["x" * 100] * 20_000}
    sending = Channel(other.dup())
    sender = threading.Thread(target=sending.send, args=(message,))
    sender.start()
    assert channel.receive()[0] == message
    sender.join()
    sending.close()


def test_a_file_travels_with_its_message(
    ends: tuple[Channel, socket.socket], tmp_path: Path
) -> None:
    channel, other = ends
    (tmp_path / "file").write_bytes(b"content")
    with (tmp_path / "file").open("rb") as file:
        sending = Channel(other.dup())
        sending.send({"go": True}, file=file.fileno())
        sending.close()
    message, received = channel.receive()
    assert message == {"go": True}
    assert received is not None
    assert os.read(received, 100) == b"content"
    os.close(received)


@pytest.mark.parametrize("line", [b"not json\n", b"[1, 2]\n", b"\xff\xfe\n"])
def test_anything_but_an_object_closes(ends: tuple[Channel, socket.socket], line: bytes) -> None:
    channel, other = ends
    other.sendall(line)
    with pytest.raises(Closed):
        channel.receive()


def test_the_end_of_the_other_side_closes(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    other.close()
    with pytest.raises(Closed):
        channel.receive()
    with pytest.raises(Closed):
        channel.send({"a": 1})


def test_a_line_without_end_closes(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    sender = threading.Thread(target=pour, args=(other,))
    sender.start()
    with pytest.raises(Closed):
        channel.receive()
    channel.close()
    sender.join()


def test_waiting_ends_at_the_deadline(ends: tuple[Channel, socket.socket]) -> None:
    channel, _ = ends
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        channel.receive(deadline=began + 0.1)
    assert time.monotonic() - began < 1.0


def pour(other: socket.socket) -> None:
    try:
        for _ in range(MAX_LINE_BYTES // 2**16 + 64):
            other.sendall(b"x" * 2**16)
    except OSError:
        return
