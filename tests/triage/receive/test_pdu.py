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
    IN_PLACE_BYTES,
    Broken,
    Gone,
    How,
    Pdu,
    Place,
    Stopping,
    Wire,
    data_pdus,
    presentation_data,
    where,
)
from triage.settings import Listener as Limits

Read = tuple[Pdu, list[tuple[int, int, bytes]]]
LIMITS = Limits(max_pdu_bytes=4096, pdu_timeout_s=0.3, idle_timeout_s=0.3)


class Pair:
    """A wire, the socket at its other end, and the pipe that stops it."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        ours, self.peer = socket.socketpair()
        self.stop_read, self.stop_write = os.pipe()
        self.wire = Wire(ours, limits, self.stop_read)

    def read(self, place: Place = lambda *_: None, *, between_messages: bool = False) -> Read:
        """Give what comes next, its fragments copied."""
        kind, values = self.wire.read(place, between_messages=between_messages)
        return kind, [(one, control, bytes(fragment)) for one, control, fragment in values]

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
    sent = [bytes([number]) * (number * 37 % 4091) for number in range(100)]
    stream = b"".join(raw.p_data(raw.pdv(1, 0, one)) for one in sent)

    def send() -> None:
        for start in range(0, len(stream), 777):
            pair.peer.sendall(stream[start : start + 777])

    thread = threading.Thread(target=send)
    thread.start()
    for one in sent:
        assert pair.read() == (Pdu.P_DATA, [(1, 0, one)])
    thread.join()


class Places:
    """Gives places of its own for fragments, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.given: list[bytearray] = []
        self.asked: list[tuple[int, int, int]] = []

    def __call__(self, context_id: int, control: int, count: int) -> memoryview | None:
        self.asked.append((context_id, control, count))
        if context_id == 3:
            return None
        self.given.append(bytearray(count))
        return memoryview(self.given[-1])


@pytest.fixture
def wide() -> Iterator[Pair]:
    pair = Pair(Limits(max_pdu_bytes=131_072, pdu_timeout_s=5))
    yield pair
    pair.close()


@pytest.mark.parametrize("piece", [1_000_000, 100_003, 4096, 777])
def test_long_fragments_are_where_they_belong_and_all_others_as_they_came(
    wide: Pair, piece: int
) -> None:
    long = [os.urandom(count) for count in (131_066, 40_000, IN_PLACE_BYTES)]
    sent = [
        [(1, 3, b"command")],
        *([(1, 0, one)] for one in long),
        [(1, 2, b"end")],
        [(3, 0, long[0])],  # it has no place
        [(1, 0, long[1]), (1, 2, b"and another")],
        [(1, 0, long[0])],
    ]
    stream = b"".join(raw.p_data(*(raw.pdv(*one) for one in values)) for values in sent)

    def send() -> None:
        for start in range(0, len(stream), piece):
            wide.peer.sendall(stream[start : start + piece])

    thread, places = threading.Thread(target=send), Places()
    thread.start()
    for values in sent:
        assert wide.read(places) == (Pdu.P_DATA, values)
    thread.join()
    assert places.given == [*long, long[0]]
    assert places.asked == [(one[0][0], 0, len(one[0][2])) for one in sent if one[0][2] in long
                            and len(one) == 1]  # fmt: skip


def test_one_that_stops_within_a_long_fragment_is_gone(wide: Pair) -> None:
    wide.peer.sendall(raw.p_data(raw.pdv(1, 0, bytes(100_000)))[:-1])
    wide.peer.close()
    with pytest.raises(Gone) as why:
        wide.read(Places())
    assert why.value.how is How.CLOSED


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
        pair.read()
    assert why.value.how is How.HALF_SENT
    assert 0.2 < time.monotonic() - started < 1.0
    pair.wire._socket.close()
    thread.join()


def test_silence_ends_at_the_idle_limit(pair: Pair) -> None:
    with pytest.raises(Gone) as why:
        pair.read(between_messages=True)
    assert why.value.how is How.IDLE


def test_the_stop_is_heard_between_messages_only(pair: Pair) -> None:
    os.write(pair.stop_write, b"\0")
    with pytest.raises(Stopping):
        pair.read(between_messages=True)
    pair.peer.sendall(raw.pdu(5, bytes(4)))
    assert pair.read()[0] is Pdu.RELEASE_RQ


def test_the_stop_is_heard_though_the_next_message_has_come(pair: Pair) -> None:
    pair.peer.sendall(raw.p_data(raw.pdv(1, 3, b"one")) + raw.p_data(raw.pdv(1, 3, b"two")))
    assert pair.read(between_messages=True)[1] == [(1, 3, b"one")]
    os.write(pair.stop_write, b"\0")
    with pytest.raises(Stopping):
        pair.read(between_messages=True)


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
        pair.read(between_messages=True)
    assert why.value.pdu == bytes((7, 0, 0, 0, 0, 4, 0, 0, 2, reason))


def test_a_peer_that_closes_is_gone(pair: Pair) -> None:
    pair.peer.sendall(b"\x04\0\0")
    pair.peer.close()
    with pytest.raises(Gone) as why:
        pair.read(between_messages=True)
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
