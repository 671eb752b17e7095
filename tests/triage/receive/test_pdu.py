"""PDUs are read whole, bounded and in time, or not at all."""

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.triage.receive import raw
from triage.receive.pdu import (
    Broken,
    Gone,
    How,
    Pdu,
    Stopping,
    Wire,
    data_pdus,
    presentation_data,
    where,
)
from triage.settings import Listener as Limits

LIMITS = Limits(max_pdu_bytes=4096, pdu_timeout_s=0.3, idle_timeout_s=0.3)


class Pair:
    """A wire, the socket at its other end, and the pipe that stops it."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        self.stop_read, self.stop_write = os.pipe()
        self.wire = Wire(ours, LIMITS, self.stop_read)

    def close(self) -> None:
        self.peer.close()
        self.wire.close()
        os.close(self.stop_read)
        os.close(self.stop_write)


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def test_pdus_come_out_as_they_went_in_however_they_are_cut(pair: Pair) -> None:
    sent = [raw.pdu(4, bytes([number]) * (number * 37 % 4097)) for number in range(100)]
    stream = b"".join(sent)

    def send() -> None:
        for start in range(0, len(stream), 777):
            pair.peer.sendall(stream[start : start + 777])

    thread = threading.Thread(target=send)
    thread.start()
    for one in sent:
        kind, content = pair.wire.read(between_messages=False)
        assert kind is Pdu.P_DATA
        assert bytes(content) == one[6:]
    thread.join()


def test_a_trickle_has_one_deadline_for_the_whole_pdu(pair: Pair) -> None:
    def trickle() -> None:
        with suppress(OSError):
            for one in raw.pdu(4, bytes(4000)):
                pair.peer.sendall(bytes([one]))
                time.sleep(0.02)

    thread = threading.Thread(target=trickle)
    thread.start()
    started = time.monotonic()
    with pytest.raises(Gone) as why:
        pair.wire.read(between_messages=False)
    assert why.value.how is How.HALF_SENT
    assert 0.2 < time.monotonic() - started < 1.0
    pair.wire._socket.close()
    thread.join()


def test_silence_ends_at_the_idle_limit(pair: Pair) -> None:
    with pytest.raises(Gone) as why:
        pair.wire.read(between_messages=True)
    assert why.value.how is How.IDLE


def test_the_stop_is_heard_between_messages_only(pair: Pair) -> None:
    os.write(pair.stop_write, b"\0")
    with pytest.raises(Stopping):
        pair.wire.read(between_messages=True)
    pair.peer.sendall(raw.pdu(5, bytes(4)))
    assert pair.wire.read(between_messages=False)[0] is Pdu.RELEASE_RQ


def test_the_stop_is_heard_though_the_next_message_has_come(pair: Pair) -> None:
    pair.peer.sendall(raw.pdu(4, b"one") + raw.pdu(4, b"two"))
    assert bytes(pair.wire.read(between_messages=True)[1]) == b"one"
    os.write(pair.stop_write, b"\0")
    with pytest.raises(Stopping):
        pair.wire.read(between_messages=True)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (struct.pack(">BBI", 4, 0, 4097), 6),
        (struct.pack(">BBI", 4, 0, 0xFFFFFFFF), 6),
        (struct.pack(">BBI", 5, 0, 5), 6),
        (struct.pack(">BBI", 1, 0, 100), 2),
        (struct.pack(">BBI", 2, 0, 100), 2),
        (struct.pack(">BBI", 6, 0, 4), 2),
        (struct.pack(">BBI", 0, 0, 4), 1),
        (struct.pack(">BBI", 0x47, 0, 4), 1),
    ],
)
def test_a_header_that_cannot_be_is_broken_before_anything_is_read(
    pair: Pair, header: bytes, reason: int
) -> None:
    pair.peer.sendall(header)
    with pytest.raises(Broken) as why:
        pair.wire.read(between_messages=True)
    assert why.value.pdu == bytes((7, 0, 0, 0, 0, 4, 0, 0, 2, reason))


def test_a_peer_that_closes_is_gone(pair: Pair) -> None:
    pair.peer.sendall(b"\x04\0\0")
    pair.peer.close()
    with pytest.raises(Gone) as why:
        pair.wire.read(between_messages=True)
    assert why.value.how is How.CLOSED


def test_a_peer_that_does_not_take_the_answer_is_gone(pair: Pair) -> None:
    started = time.monotonic()
    with pytest.raises(Gone) as why:
        pair.wire.send(bytes(64 * 2**20))
    assert why.value.how is How.NOT_TAKEN
    assert time.monotonic() - started < 1.5


@given(
    st.binary(min_size=1, max_size=3000),
    st.integers(0, 40) | st.sampled_from([0, 4096, 16384]),
)
def test_answers_fit_what_the_peer_takes_and_come_back_whole(
    command: bytes, max_pdu_bytes: int
) -> None:
    stream = memoryview(data_pdus(3, command, max_pdu_bytes))
    found, controls = b"", []
    while stream:
        kind, length = struct.unpack(">BxI", stream[:6])
        assert kind == 4
        assert length <= max(max_pdu_bytes, 8) or not max_pdu_bytes
        for context_id, control, fragment in presentation_data(stream[6 : 6 + length]):
            assert context_id == 3
            found += bytes(fragment)
            controls.append(control)
        stream = stream[6 + length :]
    assert found == command
    assert controls == [1] * (len(controls) - 1) + [3]


@given(st.binary(max_size=100))
def test_damaged_presentation_data_is_broken(content: bytes) -> None:
    try:
        values = list(presentation_data(memoryview(content)))
    except Broken:
        return
    assert sum(len(fragment) + 6 for _, _, fragment in values) == len(content)


def test_a_bug_is_placed_without_its_message() -> None:
    with pytest.raises(KeyError) as why:
        raise KeyError("CANARY")
    assert where(why.value).startswith("test_pdu.py:")
