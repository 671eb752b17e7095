"""Before a peer has said who it is, it can hold nothing that others need."""

import resource
import socket
import statistics
import struct
import threading
import time
from contextlib import ExitStack, suppress

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.triage.receive import raw
from tests.triage.receive.conftest import Start, soon
from triage.receive import lobby as lobby_module
from triage.receive.listener import Listener
from triage.receive.request import AssociateRequest, read_request
from triage.spool import JournalEvent

CONTEXTS = [(raw.CT, [raw.EXPLICIT]), (raw.VERIFICATION, [raw.IMPLICIT])]


def journal(listener: Listener) -> list[JournalEvent]:
    listener.report()
    return [event for batch in listener.spool.journal.batches() for event in batch.events]


def rejection(port: int, source: str = "127.0.0.1", **titles: bytes) -> tuple[int, ...] | None:
    return raw.rejection(port, CONTEXTS, source, **titles)


def rss_kib() -> int:
    with open("/proc/self/status", encoding="utf-8") as file:  # noqa: PTH123
        return int(file.read().split("VmRSS:")[1].split()[0])


class TestSilence:
    def test_forty_silent_connections_hold_nobody_up_and_are_closed(self, start: Start) -> None:
        port = start(connect_timeout_s=0.8).port
        with ExitStack() as stack:
            silent = [stack.enter_context(raw.peer(port)) for _ in range(40)]
            assert statistics.median(raw.echo_ms(port) for _ in range(9)) < 100
            assert all(peer.is_closed_within(3) for peer in silent)

    def test_forty_silent_connections_hold_no_thread(self, start: Start) -> None:
        port = start(connect_timeout_s=30).port
        threads = threading.active_count()
        with ExitStack() as stack:
            silent = [stack.enter_context(raw.peer(port)) for _ in range(40)]
            for _ in range(9):
                raw.echo_ms(port)
            assert soon(lambda: threading.active_count() <= threads)  # those of the echoes end
            assert not any(peer.is_closed_within(0.01) for peer in silent)

    @pytest.mark.parametrize("sent", [1, 5, 6, 60])
    def test_half_a_request_is_closed_at_the_deadline(self, start: Start, sent: int) -> None:
        listener = start(connect_timeout_s=0.4)
        with raw.peer(listener.port) as peer:
            peer.send(raw.associate_rq(CONTEXTS)[:sent])
            started = time.monotonic()
            assert peer.is_closed_within(3)
            assert time.monotonic() - started > 0.2
        assert "connection.silent" in {event.kind for event in journal(listener)}

    def test_a_byte_at_a_time_does_not_stretch_the_deadline(self, start: Start) -> None:
        port = start(connect_timeout_s=0.5).port
        request = raw.associate_rq(CONTEXTS)
        started = time.monotonic()
        with raw.peer(port) as peer, suppress(OSError):
            for one in request:
                peer.send(bytes([one]))
                time.sleep(0.05)
        assert time.monotonic() - started < 3
        assert raw.echo_ms(port) < 500

    def test_more_silence_than_the_lobby_holds_drops_the_longest_waiting(
        self, start: Start
    ) -> None:
        listener = start(connect_timeout_s=30)
        peers = [raw.Peer(listener.port) for _ in range(300)]
        assert raw.echo_ms(listener.port) < 500
        assert peers[0].is_closed_within(2)
        assert not peers[-1].is_closed_within(0.1)
        assert sum(event.count for event in journal(listener)) > 100
        for peer in peers:
            peer.close()


class TestLies:
    def test_a_request_of_four_gibibytes_is_aborted_at_its_header(self, start: Start) -> None:
        listener = start()
        raw.echo_ms(listener.port)
        noise = bytes(2**20)
        before = rss_kib()
        with raw.peer(listener.port) as peer:
            peer.send(b"\x01\x00\xff\xff\xff\xff")
            sent = 0
            with suppress(OSError):
                while sent < 200:
                    peer.send(noise)
                    sent += 1
        assert sent < 200
        assert rss_kib() - before < 5 * 1024
        assert "beyond the limit" in journal(listener)[0].code

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (struct.pack(">BBI", 1, 0, 2**20 + 1), 6),
            (struct.pack(">BBI", 4, 0, 10), 2),
            (struct.pack(">BBI", 7, 0, 4), 2),
            (b"GET / HTTP/1.1\r\n\r\n", 1),
            (b"\x16\x03\x01\x02\x00\x01", 1),
            (raw.pdu(1, bytes(10)), 6),
            (raw.pdu(1, raw.associate_rq(CONTEXTS)[6:-3]), 6),
        ],
    )
    def test_what_is_no_request_is_aborted(self, start: Start, data: bytes, reason: int) -> None:
        port = start().port
        with raw.peer(port) as peer:
            peer.send(data)
            assert peer.receive() == (raw.ABORT, bytes((0, 0, 2, reason)))
            assert peer.is_closed_within(3)
        assert raw.echo_ms(port) < 500

    def test_titles_cannot_forge_the_log(self, start: Start) -> None:
        listener = start()
        assert rejection(listener.port, calling=b"A\nB\x1b[31m") == (1, 1, 3)
        assert journal(listener)[0].ae_title == "A?B?[31m"

    @hypothesis_settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(st.binary(min_size=1, max_size=200), st.integers(0, 200))
    def test_noise_never_closes_the_door(self, start: Start, noise: bytes, kept: int) -> None:
        listener = _shared(start)
        with raw.peer(listener.port) as peer:
            try:
                peer.send(raw.associate_rq(CONTEXTS)[:kept] + noise)
                peer.socket.shutdown(socket.SHUT_WR)
                peer.is_closed_within(5)
            except OSError:
                pass
        assert raw.echo_ms(listener.port) < 2000


def _shared(start: Start) -> Listener:
    """Give the one listener of a test that runs many examples."""
    function = start.__dict__
    if "listener" not in function:
        function["listener"] = start()
    listener = function["listener"]
    assert isinstance(listener, Listener)
    return listener


class TestTitles:
    def test_wrong_titles_and_addresses_are_rejected_and_journalled(self, start: Start) -> None:
        listener = start(
            peers=[
                {"ae_title": "CT1", "addresses": ["127.0.0.2"]},
                {"ae_title": "PACS"},
            ]
        )
        port = listener.port
        assert rejection(port, calling=b"PACS") is None
        assert rejection(port, "127.0.0.2", calling=b"CT1") is None
        assert rejection(port, "127.0.0.1", calling=b"CT1") == (1, 1, 3)
        assert rejection(port, calling=b"BAD") == (1, 1, 3)
        assert rejection(port, calling=b"PACS", called=b"OTHER") == (1, 1, 7)
        seen = {(event.code, event.ae_title, event.address) for event in journal(listener)}
        assert ("CALLING_AE_TITLE", "CT1", "127.0.0.1") in seen
        assert ("CALLED_AE_TITLE", "PACS", "127.0.0.1") in seen


class TestPlaces:
    def test_beyond_the_limit_is_rejected_for_now_and_echo_works_right_after(
        self, start: Start
    ) -> None:
        listener = start(max_associations=4, max_associations_per_address=4)
        peers = [raw.Peer(listener.port) for _ in range(4)]
        for peer in peers:
            peer.associate(CONTEXTS)
        assert rejection(listener.port) == (2, 3, 2)
        assert rejection(listener.port, "127.0.0.2") == (2, 3, 2)
        peers[0].release()
        assert soon(lambda: listener.associations == 3)
        assert raw.echo_ms(listener.port) < 500
        for peer in peers:
            peer.close()
        assert soon(lambda: listener.associations == 0)

    def test_one_address_cannot_take_all_places(self, start: Start) -> None:
        listener = start(max_associations=32, max_associations_per_address=3)
        greedy = [raw.Peer(listener.port, "127.0.0.2") for _ in range(3)]
        for peer in greedy:
            peer.associate(CONTEXTS)
        assert rejection(listener.port, "127.0.0.2") == (2, 3, 2)
        assert rejection(listener.port, "127.0.0.3") is None
        for peer in greedy:
            peer.close()

    def test_a_hundred_that_call_at_once_from_one_address_are_each_answered(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            lobby_module, "PATIENCE_S", 60.0
        )  # at once, however slow this machine is
        listener = start(max_associations=32, max_associations_per_address=32)
        peers = [raw.Peer(listener.port) for _ in range(100)]
        for peer in peers:
            peer.send(raw.associate_rq(CONTEXTS))
        answers = [peer.receive()[0] for peer in peers]
        assert set(answers) == {raw.ACCEPT, raw.REJECT}
        assert answers.count(raw.ACCEPT) == 32
        for peer in peers:
            peer.close()

    def test_of_many_that_say_nothing_the_longest_waiting_of_their_address_goes(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lobby_module, "PATIENCE_S", 0.0)
        listener = start()
        other = raw.Peer(listener.port, "127.0.0.3")
        silent = [
            raw.Peer(listener.port, "127.0.0.2")
            for _ in range(lobby_module.MAX_VISITORS_PER_ADDRESS + 2)
        ]
        assert [peer.receive() for peer in silent[:2]] == [(0, b""), (0, b"")]
        silent[2].associate(CONTEXTS)
        silent[-1].associate(CONTEXTS)
        other.associate(CONTEXTS)
        noted = [one for one in journal(listener) if one.kind == "limit.connections"]
        assert {one.address for one in noted} == {"127.0.0.2"}
        for peer in (other, *silent):
            peer.close()

    def test_a_burst_of_a_thousand_is_answered_each(self, start: Start) -> None:
        listener = start(max_associations=32, max_associations_per_address=32)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        request = raw.associate_rq([(raw.VERIFICATION, [raw.IMPLICIT])])
        answers: list[int] = []

        def one_of_many() -> None:
            for _ in range(50):
                try:
                    with raw.peer(listener.port) as peer:
                        peer.send(request)
                        answers.append(peer.receive()[0])
                except OSError:
                    answers.append(0)

        before = threading.active_count()
        threads = [threading.Thread(target=one_of_many) for _ in range(20)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        peak = threading.active_count()
        for thread in threads:
            thread.join()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(answers) == 1000
        assert answers.count(0) < 50  # dropped as the longest waiting of a crowd
        assert answers.count(raw.ACCEPT) >= 32
        assert peak <= before + 20 + 33
        assert raw.echo_ms(listener.port) < 1000


def test_a_bug_in_the_lobby_costs_one_visitor(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = start()

    def buggy(content: bytes) -> AssociateRequest:
        request = read_request(content)
        if request.calling_ae_title == "TRIGGER":
            raise KeyError
        return request

    monkeypatch.setattr(lobby_module, "read_request", buggy)
    with raw.peer(listener.port) as peer:
        peer.send(raw.associate_rq(CONTEXTS, calling=b"TRIGGER"))
        assert peer.is_closed_within(3)
    assert raw.echo_ms(listener.port) < 500
