"""Several processes on one port: none of them is missed, and they share their limits."""

import os
import signal
import socket
from collections import Counter
from pathlib import Path

import pytest

from tests.triage.receive import build, raw
from tests.triage.receive.conftest import Running, running_listener, soon, stray_files

CONTEXTS = [(raw.CT, [raw.EXPLICIT]), (raw.VERIFICATION, [raw.IMPLICIT])]


def children(ours: Running) -> set[int]:
    listed = Path(f"/proc/{ours.pid}/task/{ours.pid}/children").read_text()
    return {int(pid) for pid in listed.split()}


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def stop(pid: int) -> None:
    """Stop a process and see every thread of it stopped: until then one may still accept."""
    os.kill(pid, signal.SIGSTOP)
    threads = Path(f"/proc/{pid}/task")
    assert soon(
        lambda: all(
            (one / "stat").read_text().rpartition(")")[2].split()[0] == "T"
            for one in threads.iterdir()
        )
    )


def served_by(ours: Running) -> Counter[int]:
    """Give how many established connections each process has."""
    sockets = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{ours.port:04X}") and line.split()[3] == "01"
    }
    found: Counter[int] = Counter()
    for pid in children(ours):
        for one in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(one.readlink())
            except OSError:
                continue
            if target.startswith("socket:[") and target[8:-1] in sockets:
                found[pid] += 1
    return found


def test_every_process_serves_and_what_is_acknowledged_is_there(tmp_path: Path) -> None:
    with running_listener(tmp_path, processes=3, max_associations_per_address=32) as ours:
        assert len(children(ours)) == 3
        peers = [raw.Peer(ours.port) for _ in range(24)]
        for peer in peers:
            peer.associate(CONTEXTS)
        assert sum(served_by(ours).values()) == 24
        for peer in peers:
            uid, data = build.fresh_ct()
            assert peer.store(data, uid.encode()) == 0
        for peer in peers:
            assert peer.release()
            peer.close()
        assert len(ours.waiting()) == 24
        assert stray_files(ours.spool) == []
        pids = children(ours)
        os.kill(ours.pid, signal.SIGTERM)
        assert ours.process.wait(60) == 0
        assert not any(map(lives, pids))


def test_limits_hold_over_all_processes(tmp_path: Path) -> None:
    with running_listener(
        tmp_path, processes=3, max_associations=6, max_associations_per_address=4
    ) as ours:
        greedy = [raw.Peer(ours.port, "127.0.0.2") for _ in range(4)]
        for peer in greedy:
            peer.associate(CONTEXTS)
        for _ in range(6):  # whichever process takes it
            assert raw.rejection(ours.port, CONTEXTS, "127.0.0.2") == (2, 3, 2)
        others = [raw.Peer(ours.port, f"127.0.0.{number}") for number in (3, 4)]
        for peer in others:
            peer.associate(CONTEXTS)
        for _ in range(6):
            assert raw.rejection(ours.port, CONTEXTS, "127.0.0.5") == (2, 3, 2)
        for peer in (*greedy, *others):
            peer.close()
        assert soon(lambda: raw.rejection(ours.port, CONTEXTS, "127.0.0.2") is None)


def test_a_process_that_is_stopped_or_killed_keeps_nobody_waiting(tmp_path: Path) -> None:
    with running_listener(tmp_path, processes=2, max_associations=4) as ours:
        first, second = sorted(children(ours))
        stop(first)
        try:
            for _ in range(8):
                assert raw.echo_ms(ours.port) < 5000
            peers = [raw.Peer(ours.port) for _ in range(4)]
            for peer in peers:
                peer.associate(CONTEXTS)
            assert raw.rejection(ours.port, CONTEXTS) == (2, 3, 2)
            uid, data = build.fresh_ct()
            peers[0].send(raw.store_rq(data, uid.encode())[:-10])
        finally:
            os.kill(first, signal.SIGCONT)
        os.kill(second, signal.SIGKILL)
        assert soon(lambda: len(children(ours) - {second}) == 2)
        assert soon(lambda: raw.rejection(ours.port, CONTEXTS) is None)  # its places came back
        assert all(peer.is_closed_within(30) for peer in peers)
        assert soon(lambda: stray_files(ours.spool) == [])  # its drafts are swept
        for peer in peers:
            peer.close()
        for _ in range(4):
            assert raw.echo_ms(ours.port) < 5000
        assert any(one["event"] == "listener.process-ended" for one in ours.events())


def test_the_processes_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    with running_listener(tmp_path, processes=2) as ours:
        pids = children(ours)
        ours.process.kill()
        ours.process.wait(30)
        assert soon(lambda: not any(map(lives, pids)))


def test_a_second_one_on_the_port_does_not_share_it(tmp_path: Path) -> None:
    with running_listener(tmp_path, processes=2) as ours, socket.socket() as second:
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            second.bind(("127.0.0.1", ours.port))
