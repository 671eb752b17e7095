"""An association is served message by message, and ends cleanly however it ends."""

import socket
import struct
import threading
import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.triage.receive import build, raw
from tests.triage.receive.conftest import Start, soon, stray_files, waiting
from triage.receive import storage as storage_module
from triage.receive.listener import Listener
from triage.receive.scan import Scanned, scan

CONTEXTS = [(raw.CT, [raw.EXPLICIT]), (raw.VERIFICATION, [raw.IMPLICIT])]
MR = "1.2.840.10008.5.1.4.1.1.4"
COMMAND = raw.command(1, raw.CT.encode(), b"1.2.3", data=True)


def ended(listener: Listener) -> bool:
    return soon(lambda: listener.associations == 0)


def abort(reason: int) -> tuple[int, bytes]:
    return raw.ABORT, bytes((0, 0, 2, reason))


class TestServing:
    def test_many_messages_on_one_association_are_answered_in_turn(self, start: Start) -> None:
        listener = start()
        with raw.peer(listener.port) as peer:
            assert peer.associate(CONTEXTS) == b"\x01\x03"
            for _ in range(5):
                uid, data = build.fresh_ct()
                assert peer.store(data, uid.encode()) == 0
                assert peer.echo(3) == 0
            assert peer.release()
            assert peer.is_closed_within(3)
        assert len(waiting(listener)) == 5
        assert ended(listener)

    @pytest.mark.parametrize("fragment", [1, 7, 1000, 100_000])
    def test_fragments_of_any_size_make_the_same_instance(
        self, start: Start, fragment: int
    ) -> None:
        listener = start()
        uid, data = build.fresh_ct()
        with raw.peer(listener.port) as peer:
            peer.associate(CONTEXTS)
            assert peer.store(data, uid.encode(), fragment=fragment) == 0
        (path,) = waiting(listener)
        assert path.read_bytes().endswith(data)

    def test_command_and_data_may_share_a_pdu_and_so_may_two_messages(self, start: Start) -> None:
        listener = start()
        values = b""
        for _ in range(2):
            uid, data = build.fresh_ct()
            command = raw.command(1, raw.CT.encode(), uid.encode(), data=True)
            values += raw.pdv(1, 3, command) + raw.pdv(1, 2, data)
        with raw.peer(listener.port) as peer:
            peer.associate(CONTEXTS)
            peer.send(raw.p_data(values))
            assert [peer.status(), peer.status()] == [0, 0]
        assert len(waiting(listener)) == 2

    def test_a_peer_that_does_not_wait_is_answered_all_the_same(self, start: Start) -> None:
        listener = start()
        with raw.peer(listener.port) as peer:
            peer.associate(CONTEXTS)
            stream = b""
            for _ in range(40):
                uid, data = build.fresh_ct()
                stream += raw.store_rq(data, uid.encode())
            threading.Thread(target=peer.send, args=(stream,)).start()
            assert [peer.status() for _ in range(40)] == [0] * 40
        assert len(waiting(listener)) == 40

    def test_an_answer_fits_a_peer_that_takes_little(self, start: Start) -> None:
        listener = start()
        with raw.peer(listener.port) as peer:
            peer.send(raw.associate_rq(CONTEXTS, max_pdu=64))
            peer.receive()
            uid, data = build.fresh_ct()
            peer.send(raw.store_rq(data, uid.encode()))
            answer, control = b"", 0
            while control != 3:
                _, content = peer.receive()
                assert len(content) <= 64
                control, answer = content[5], answer + content[6:]
            assert raw.elements_of(answer)[0x0900] == b"\0\0"

    def test_other_requests_are_unrecognised_and_cancels_are_ignored(self, start: Start) -> None:
        with raw.peer(start().port) as peer:
            peer.associate(CONTEXTS)
            peer.send(raw.p_data(raw.pdv(1, 3, raw.command(0x20, b"1.2", data=False))))
            assert peer.status() == 0x0211
            cancel = raw.element(0x0100, b"\xff\x0f") + raw.element(0x0120, b"\x01\0")
            peer.send(raw.p_data(raw.pdv(1, 3, cancel)))
            assert peer.echo(3) == 0
            assert peer.echo(1) == 0x0122


class TestWrongContext:
    def test_an_instance_of_another_class_is_not_stored(self, start: Start) -> None:
        listener = start()
        uid, data = build.fresh_ct(SOPClassUID=MR)
        with raw.peer(listener.port) as peer:
            peer.associate([(raw.CT, [raw.EXPLICIT]), (MR, [raw.EXPLICIT]), *CONTEXTS[1:]])
            assert peer.store(data, uid.encode(), sop_class=MR.encode(), context_id=1) == 0x0122
            verification = raw.VERIFICATION.encode()
            status = peer.store(data, uid.encode(), sop_class=verification, context_id=5)
            assert status == 0x0122
            assert peer.store(data, uid.encode(), sop_class=MR.encode(), context_id=3) == 0
        assert len(waiting(listener)) == 1

    @pytest.mark.parametrize("context_id", [0, 2, 5, 255])
    def test_a_context_that_was_not_accepted_is_an_abort(
        self, start: Start, context_id: int
    ) -> None:
        with raw.peer(start().port) as peer:
            peer.associate(CONTEXTS)
            peer.send(raw.p_data(raw.pdv(context_id, 3, COMMAND)))
            assert peer.receive() == abort(6)


class TestMalformed:
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (raw.pdu(4, b"") + raw.pdu(4, b"\0\0\0\x01\x01\x03"), 6),
            (raw.pdu(4, struct.pack(">IBB", 0xFFFFFFFF, 1, 3)), 6),
            (raw.pdu(4, struct.pack(">I", 2)), 6),
            (raw.pdu(4, raw.pdv(1, 3, b"")), 6),
            (struct.pack(">BBI", 4, 0, 131073), 6),
            (raw.pdu(8, b"abcd"), 1),
            (raw.associate_rq(CONTEXTS), 2),
            (raw.p_data(raw.pdv(1, 2, b"data first")), 5),
            (raw.p_data(raw.pdv(1, 3, COMMAND), raw.pdv(1, 3, COMMAND)), 5),
            (raw.p_data(raw.pdv(1, 3, COMMAND), raw.pdv(3, 2, b"other context")), 5),
            (raw.p_data(raw.pdv(1, 3, raw.element(0x0110, b"\x01\0"))), 6),
            (raw.p_data(raw.pdv(1, 3, raw.command(0x8001, b"1.2", data=False))), 5),
            (raw.p_data(*[raw.pdv(1, 1, bytes(8000))] * 3), 0),
        ],
    )
    def test_it_is_aborted_and_the_place_is_free_again(
        self, start: Start, data: bytes, reason: int
    ) -> None:
        listener = start()
        with raw.peer(listener.port) as peer:
            peer.associate(CONTEXTS)
            peer.send(data)
            assert peer.receive() == abort(reason)
            assert peer.is_closed_within(3)
        assert ended(listener)
        assert raw.echo_ms(listener.port) < 500
        assert stray_files(listener.spool.root) == []

    def test_a_message_beyond_the_limit_is_aborted(self, start: Start) -> None:
        listener = start(max_instance_bytes=100_000)
        with raw.peer(listener.port) as peer:
            peer.associate(CONTEXTS)
            peer.send(raw.p_data(raw.pdv(1, 3, COMMAND)))
            sent = 0
            with suppress(OSError):
                while sent < 1000:  # fragments that never say they are the last
                    peer.send(raw.p_data(raw.pdv(1, 0, bytes(10_000))))
                    sent += 1
            assert sent < 1000
        assert ended(listener)
        assert waiting(listener) == []
        assert stray_files(listener.spool.root) == []

    @hypothesis_settings(
        max_examples=80,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        st.lists(
            st.tuples(st.integers(0, 8), st.binary(max_size=60))
            | st.tuples(st.just(4), st.just(raw.pdv(1, 3, COMMAND)))
            | st.builds(
                lambda control, data: (4, raw.pdv(1, control, data)),
                st.integers(0, 4),
                st.binary(max_size=60),
            ),
            max_size=6,
        ),
        st.integers(0, 20),
    )
    def test_any_sequence_of_pdus_ends_and_the_listener_lives(
        self, start: Start, pdus: list[tuple[int, bytes]], cut: int
    ) -> None:
        listener = start.__dict__.setdefault("listener", None) or start()
        start.__dict__["listener"] = listener
        with raw.peer(listener.port) as peer:
            peer.associate(CONTEXTS)
            stream = b"".join(raw.pdu(kind, content) for kind, content in pdus)
            try:
                peer.send(stream[: len(stream) - cut])
                peer.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            assert peer.is_closed_within(5)
        assert ended(listener)


class TestEndings:
    @pytest.mark.parametrize(
        "leave",
        [
            b"", raw.pdu(7, bytes(4)), raw.p_data(raw.pdv(1, 3, COMMAND)),
            raw.p_data(raw.pdv(1, 3, COMMAND)) + raw.p_data(raw.pdv(1, 0, b"half")),
            raw.p_data(raw.pdv(1, 3, COMMAND))[:-5],
        ],
    )  # fmt: skip
    def test_a_peer_that_leaves_in_the_middle_leaves_nothing(
        self, start: Start, leave: bytes
    ) -> None:
        listener = start()
        with raw.peer(listener.port) as peer:
            peer.associate(CONTEXTS)
            peer.send(leave)
        assert ended(listener)
        assert waiting(listener) == []
        assert stray_files(listener.spool.root) == []

    def test_a_peer_that_falls_silent_is_given_up(self, start: Start) -> None:
        listener = start(idle_timeout_s=0.3)
        with raw.peer(listener.port) as peer:
            peer.associate(CONTEXTS)
            started = time.monotonic()
            assert peer.is_closed_within(3)
            assert time.monotonic() - started > 0.2
        assert ended(listener)

    def test_half_a_pdu_frees_the_place_at_the_deadline(self, start: Start) -> None:
        listener = start(pdu_timeout_s=0.4, max_associations=4, max_associations_per_address=4)
        peers = [raw.Peer(listener.port) for _ in range(4)]
        for peer in peers:
            peer.associate(CONTEXTS)
            peer.send(raw.p_data(raw.pdv(1, 3, COMMAND))[:20])
        for _ in range(5):  # a byte now and then does not help
            time.sleep(0.05)
            for peer in peers:
                peer.send(b"\0")
        assert ended(listener)
        assert raw.echo_ms(listener.port) < 500
        for peer in peers:
            peer.close()

    def test_a_peer_that_never_reads_its_answers_is_given_up(self, start: Start) -> None:
        listener = start(pdu_timeout_s=0.4)
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        peer.connect(("127.0.0.1", listener.port))
        peer.settimeout(5)
        peer.sendall(raw.associate_rq(CONTEXTS))
        echo = raw.p_data(raw.pdv(3, 3, raw.command(0x30, raw.VERIFICATION.encode(), data=False)))
        try:
            for _ in range(200):
                peer.sendall(echo * 1000)
        except OSError:
            pass
        assert ended(listener)
        peer.close()


def test_a_bug_of_ours_is_answered_as_ours_and_the_next_one_is_stored(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = start()
    calls = iter([ZeroDivisionError, None])

    def buggy(data: bytes, syntax: str) -> Scanned:
        bug = next(calls)
        if bug is not None:
            raise bug
        return scan(data, syntax)

    monkeypatch.setattr(storage_module, "scan", buggy)
    uid, data = build.fresh_ct()
    with raw.peer(listener.port) as peer:
        peer.associate(CONTEXTS)
        assert peer.store(data, uid.encode()) == 0x0110
        assert peer.store(data, uid.encode()) == 0
    assert len(waiting(listener)) == 1
