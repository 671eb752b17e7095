"""Asked to stop in whatever it does just then, a process ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from triage.stopping import SIGNALS, Stop, on_stop_signal

LINES = 60
"""Of Python, from when the listener says it is ready: its wait, and what it does between two."""
LISTENER = """
import itertools, os, signal, sys
from pathlib import Path
from triage import log, settings
from triage.receive import listener

def ask_at(number):
    lines = itertools.count(1)

    def look(*_):
        if next(lines) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return look

    sys.settrace(look)

log.configure("listener", as_json=True)
listener.FLUSH_S = 0.01
loaded = settings.load(Path(sys.argv[1]), Path(sys.argv[2]))
for number in range(1, int(sys.argv[3]) + 1):
    child = os.fork()
    if not child:
        signal.alarm(10)
        listener.serve(loaded, ready=lambda _port: ask_at(number))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        print("asked at line", number, "of what it ran: exit code", code)
"""


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {one: signal.getsignal(one) for one in SIGNALS}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


def test_nobody_asked() -> None:
    stop, started = Stop(), time.monotonic()
    assert not stop()
    assert not stop.wait(0.05)
    assert time.monotonic() - started >= 0.05


def test_once_asked_it_stays_asked() -> None:
    stop = Stop()
    for _ in range(70_000):  # more than a pipe holds
        stop.ask()
    assert stop()
    assert stop()
    assert stop.wait()


def test_who_waits_is_told_at_once() -> None:
    stop, started = Stop(), time.monotonic()
    threading.Timer(0.1, stop.ask).start()
    assert stop.wait(60)
    assert time.monotonic() - started < 30


def test_it_takes_no_descriptor_with_it() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(20):
        Stop().ask()
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks(number: signal.Signals) -> None:
    stop = on_stop_signal()
    assert not stop()
    signal.raise_signal(number)
    assert stop()


@pytest.mark.usefixtures("handlers")
def test_a_signal_ends_a_wait_without_end() -> None:
    stop = on_stop_signal()
    threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    assert stop.wait()


def test_the_listener_ends_whatever_line_it_is_asked_at(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    listener = {"port": 0, "min_free_bytes": 1, "peers": "any", "processes": 1}
    (config / "site.yaml").write_text(yaml.safe_dump({"listener": listener}))
    command = [sys.executable, "-c", LISTENER, str(tmp_path / "state"), str(config), str(LINES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("listener.stopped") == LINES
