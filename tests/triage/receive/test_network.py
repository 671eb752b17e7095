"""A line that breaks loses nothing acknowledged, and a crowd at the door keeps nobody waiting."""

import random
import struct
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.bench.receivers import memory_mib
from tests.triage.receive import build, raw
from tests.triage.receive.conftest import Start, running_listener, soon, stray_files, waiting
from triage.spool import digest

CONTEXTS = [(raw.CT, [raw.EXPLICIT]), (raw.VERIFICATION, [raw.IMPLICIT])]


def test_an_answer_that_is_lost_makes_one_content_of_two_sendings(start: Start) -> None:
    listener = start()
    uid, data = build.fresh_ct()
    with raw.peer(listener.port) as peer:
        peer.associate(CONTEXTS)
        peer.send(raw.store_rq(data, uid.encode()))
        assert soon(lambda: len(waiting(listener)) == 1)
    assert soon(lambda: listener.associations == 0)  # gone without having read its answer
    with raw.peer(listener.port) as peer:
        peer.associate(CONTEXTS)
        assert peer.store(data, uid.encode()) == 0
    assert len({digest(path) for path in waiting(listener)}) == 1


def test_a_line_that_flaps_delivers_every_instance_in_the_end(start: Start) -> None:
    listener = start()
    chance = random.Random(5)
    instances = [build.fresh_ct() for _ in range(12)]
    for uid, data in instances:
        message = raw.store_rq(data, uid.encode(), fragment=200)
        status = -1
        for cut in (chance.randrange(len(message)), chance.randrange(len(message)), len(message)):
            with suppress(OSError), raw.peer(listener.port) as peer:
                peer.associate(CONTEXTS)
                peer.send(message[:cut])
                status = peer.status() if cut == len(message) else -1
        assert status == 0
    assert soon(lambda: listener.associations == 0)
    assert len({digest(path) for path in waiting(listener)}) == len(instances)
    assert stray_files(listener.spool.root) == []


def test_a_peer_that_vanishes_in_the_middle_of_a_message_is_given_up(start: Start) -> None:
    listener = start(idle_timeout_s=0.4, pdu_timeout_s=0.4)
    uid, data = build.fresh_ct()
    with raw.peer(listener.port) as peer:
        peer.associate(CONTEXTS)
        peer.send(raw.store_rq(data, uid.encode(), fragment=100)[:-106])  # whole PDUs, not the last
        assert soon(lambda: listener.associations == 0)
        assert waiting(listener) == []
        assert soon(lambda: stray_files(listener.spool.root) == [])


def test_a_password_in_the_request_is_passed_over_and_kept_nowhere(start: Start) -> None:
    listener = start()
    name, password = b"CANARY-USER", b"CANARY-PASSWORD"
    identity = struct.pack(">BBH", 2, 1, len(name)) + name
    identity += struct.pack(">H", len(password)) + password
    uid, data = build.fresh_ct(PatientID="X", PatientName="X")
    with raw.peer(listener.port) as peer:
        peer.send(raw.associate_rq(CONTEXTS, user=raw.item(0x58, identity)))
        kind, content = peer.receive()
        assert kind == raw.ACCEPT
        assert b"CANARY" not in content
        assert peer.store(data, uid.encode()) == 0
        assert peer.store(b"", uid.encode()) == 0xC000
        assert peer.release()
    assert raw.rejection(
        listener.port, CONTEXTS, calling=b"A\nB", user=raw.item(0x58, identity)
    ) == (1, 1, 3)
    listener.report()
    kept = [path.read_bytes() for path in listener.spool.root.rglob("*") if path.is_file()]
    assert len(kept) >= 2
    assert not any(b"CANARY" in one for one in kept)


class Crowd:
    """Twenty slow sockets and six callers that come again and again."""

    def __init__(self, port: int) -> None:
        self.answers: list[int] = []
        self._port = port
        self._request = raw.associate_rq([(raw.VERIFICATION, [raw.IMPLICIT])])
        self._slow = [raw.Peer(port, "127.0.0.9") for _ in range(20)]
        self._done = threading.Event()
        works = (self._dribble, *(self._come,) * 6)
        self._threads = [threading.Thread(target=one) for one in works]
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()
        for one in self._slow:
            one.close()

    def _dribble(self) -> None:
        for number in range(len(self._request) - 1):
            for one in self._slow:
                with suppress(OSError):
                    one.send(self._request[number : number + 1])
            if self._done.wait(0.05):
                return

    def _come(self) -> None:
        for _ in range(20):
            with suppress(OSError), raw.peer(self._port, "127.0.0.8") as peer:
                peer.send(self._request)
                self.answers.append(peer.receive()[0])


@pytest.mark.parametrize("processes", [1, 2])
def test_a_crowd_and_slow_sockets_keep_no_echo_waiting_and_no_memory(
    tmp_path: Path, processes: int
) -> None:
    with running_listener(
        tmp_path, processes=processes, max_associations=16, max_associations_per_address=16
    ) as ours:
        assert raw.echo_ms(ours.port) < 5000
        before = memory_mib(ours.pid)
        crowd = Crowd(ours.port)
        echoes = [raw.echo_ms(ours.port, "127.0.0.7") for _ in range(5)]
        crowd.leave()
        assert min(echoes) < 5000
        assert crowd.answers.count(raw.ACCEPT) + crowd.answers.count(raw.REJECT) > 100
        assert memory_mib(ours.pid) < before + 32
        assert not [one for one in ours.events() if "bug" in one["event"]]
