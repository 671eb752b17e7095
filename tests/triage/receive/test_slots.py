"""Places are counted over every process, and a dead one's come back."""

import os
import signal
import threading

from triage.receive.slots import Slots
from triage.settings import Listener as Limits


def limits(in_all: int, per_address: int) -> Limits:
    return Limits(max_associations=in_all, max_associations_per_address=per_address)


def child_that_takes(slots: Slots, *addresses: str) -> int:
    """Fork a process that takes places and waits to be killed; gives its process id."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(write, bytes(slots.take(address) for address in addresses))
        signal.pause()
        os._exit(0)
    taken = os.read(read, len(addresses))
    os.close(read)
    os.close(write)
    assert taken == b"\1" * len(addresses)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_places_are_limited_in_all_and_for_each_address() -> None:
    slots = Slots(limits(3, 2))
    assert [slots.take("a"), slots.take("a"), slots.take("a")] == [True, True, False]
    assert [slots.take("b"), slots.take("b")] == [True, False]
    slots.give("a")
    assert slots.taken == 2
    assert slots.take("b")


def test_what_another_process_holds_counts_until_it_is_forgotten() -> None:
    slots = Slots(limits(3, 2))
    pid = child_that_takes(slots, "a", "a")
    assert not slots.take("a")
    assert slots.take("b")
    assert not slots.take("c")
    assert slots.taken == 1
    kill(pid)
    assert not slots.take("c")
    slots.forget(pid)
    assert slots.take("a")
    assert slots.take("c")
    assert slots.taken == 3


def test_a_process_that_dies_holding_the_lock_holds_nobody_up() -> None:
    slots = Slots(limits(3, 3))
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        with slots._locked():
            os.write(write, b"1")
            signal.pause()
        os._exit(0)
    assert os.read(read, 1) == b"1"
    threading.Timer(0.1, kill, (pid,)).start()
    assert slots.take("a")
    os.close(read)
    os.close(write)


def test_places_are_counted_right_by_many_threads() -> None:
    slots = Slots(limits(5, 5))
    most = []

    def come_and_go() -> None:
        for _ in range(300):
            if slots.take("a"):
                most.append(slots.taken)
                slots.give("a")

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert slots.taken == 0
    assert max(most) <= 5
