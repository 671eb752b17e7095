"""What an echo waits in a crowd: python -m tests.bench.crowd [--processes N]

A thousand associations in a burst from a hundred callers, twenty sockets that send their request a
byte at a time, and five that connect to the TLS port and say nothing. Prints the wait of an echo
before, in the middle and after, and resident memory; the aim is 100 ms, and memory that stays.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import threading
from contextlib import suppress
from multiprocessing import Queue
from pathlib import Path

from tests.bench.receivers import memory_mib, real_disk
from tests.certificates import made
from tests.servers import free_port
from tests.triage.receive import raw
from tests.triage.receive.conftest import running_listener

BURST, CALLERS, SLOW, SILENT = 1000, 100, 20, 5
REQUEST = raw.associate_rq([(raw.VERIFICATION, [raw.IMPLICIT])])


def echoes(port: int, count: int = 20) -> list[float]:
    """Give the waits of echoes from an address of its own, in ms."""
    return [raw.echo_ms(port, "127.0.0.7") for _ in range(count)]


def call(port: int, count: int, answers: list[int]) -> None:
    """Come again and again."""
    for _ in range(count):
        try:
            with raw.peer(port, "127.0.0.8") as peer:
                peer.send(REQUEST)
                answers.append(peer.receive()[0])
        except OSError:
            answers.append(0)


def dribble(port: int, until: threading.Event) -> None:
    """Send requests a byte at a time."""
    slow = [raw.Peer(port, "127.0.0.9") for _ in range(SLOW)]
    for number in range(len(REQUEST) - 1):
        for one in slow:
            with suppress(OSError):
                one.send(REQUEST[number : number + 1])
        if until.wait(0.02):
            break
    for one in slow:
        one.close()


def crowd(port: int, told: "Queue[list[int]]") -> None:
    """Be everybody but the one that echoes; in a process of its own, or it would wait for us."""
    done, answers = threading.Event(), list[int]()
    callers = [
        threading.Thread(target=call, args=(port, BURST // CALLERS, answers))
        for _ in range(CALLERS)
    ]
    dribbler = threading.Thread(target=dribble, args=(port, done))
    for thread in (dribbler, *callers):
        thread.start()
    for thread in callers:
        thread.join()
    done.set()
    dribbler.join()
    told.put(answers)


def show(name: str, waits: list[float], pid: int) -> None:
    """Print one line."""
    print(  # noqa: T201
        f"{name:18} echo {statistics.median(waits):6.1f} ms, at most {max(waits):6.1f} ms"
        f"   {memory_mib(pid):5.0f} MiB"
    )


def main() -> None:
    options = argparse.ArgumentParser(description="Measure echoes in a crowd.")
    options.add_argument("--processes", type=int, default=0)
    asked = options.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")  # noqa: T201
    scratch, _ = real_disk(None)
    tls_port = free_port()
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        tls = made(Path(name) / "keys").port(port=tls_port)
        with running_listener(Path(name), processes=asked.processes, tls=tls) as ours:
            show("alone", echoes(ours.port), ours.pid)
            silent = [raw.Peer(tls_port, "127.0.0.9") for _ in range(SILENT)]
            told: Queue[list[int]] = multiprocessing.Queue()
            others = multiprocessing.Process(target=crowd, args=(ours.port, told))
            others.start()
            waits: list[float] = []
            while others.is_alive() and told.empty():
                waits += echoes(ours.port, 5)
            show("in the crowd", waits, ours.pid)
            answers = told.get()
            others.join()
            let_in, rejected = answers.count(raw.ACCEPT), answers.count(raw.REJECT)
            print(f"{len(answers)} called: {let_in} let in, {rejected} rejected for now")  # noqa: T201
            for one in silent:
                one.close()
            show("after", echoes(ours.port), ours.pid)


if __name__ == "__main__":
    main()
