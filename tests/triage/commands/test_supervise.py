"""Programs kept running, ended within the grace, and never left behind."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from triage.commands import supervise
from triage.commands.supervise import Program, Supervisor
from triage.commands.up import wait_for

MODULES = {
    "crasher": "raise SystemExit(3)",
    "sleeper": "import time; print('up', flush=True); time.sleep(600)",
    "deaf": (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(child.pid, flush=True); time.sleep(600)"
    ),
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "modules"
    folder.mkdir()
    for name, code in MODULES.items():
        (folder / f"{name}.py").write_text(code)
    return {"PYTHONPATH": str(folder)}


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def eventually(question: Callable[[], bool], limit_s: float = 30) -> None:
    assert wait_for(question, limit_s, 0.02)


def test_a_program_that_ends_is_started_again_with_growing_pauses(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    supervisor = Supervisor(tmp_path / "logs", environment)
    supervisor.start([Program("crasher", ("crasher",))])
    starts = [(supervisor.pids()["crasher"], time.monotonic())]
    while len(starts) < 4:
        supervisor.watch()
        pid = supervisor.pids()["crasher"]
        if pid != starts[-1][0]:
            starts.append((pid, time.monotonic()))
        assert time.monotonic() - starts[-1][1] < 10
        time.sleep(0.01)
    pauses = [after[1] - before[1] for before, after in itertools.pairwise(starts)]
    assert pauses[0] >= 0.5
    assert pauses[1] >= 1
    assert pauses[2] >= 2
    supervisor.stop()


def test_stop_ends_the_willing_at_once_and_the_deaf_with_its_children_after_the_grace(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "STOP_GRACE_S", 1.0)
    supervisor = Supervisor(tmp_path / "logs", environment)
    programs = [Program("sleeper", ("sleeper",)), Program("deaf", ("deaf",))]
    supervisor.start(programs)
    logs = [supervisor.log_of(one) for one in programs]
    eventually(lambda: all(log.read_text().endswith("\n") for log in logs))
    pids = [*supervisor.pids().values(), int(logs[1].read_text())]
    assert supervisor.ended() == []
    started = time.monotonic()
    supervisor.stop()
    assert 0.9 < time.monotonic() - started < 3
    eventually(lambda: not any(map(lives, pids)))
    assert supervisor.pids() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own promise")
def test_the_programs_die_with_their_supervisor_however_it_dies(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    code = f"""
import time
from pathlib import Path
from triage.commands.supervise import Program, Supervisor
supervisor = Supervisor(Path({str(tmp_path / "logs")!r}), {environment!r})
supervisor.start([Program("sleeper", ("sleeper",))])
print(supervisor.pids()["sleeper"], flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    eventually(lambda: "up" in (tmp_path / "logs" / "sleeper.log").read_text())
    assert lives(pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not lives(pid))
