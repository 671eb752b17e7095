"""Listeners for tests: in this process on a free port, or as a process of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from triage import settings as settings_module
from triage.receive.listener import Listener
from triage.settings import Listener as Limits
from triage.settings import Settings, Site

SCRIPT = """
import os
import sys
from pathlib import Path
from triage import log, settings
from triage.receive.listener import serve
log.configure("listener", as_json=True)
serve(
    settings.load(Path(sys.argv[1]), Path(sys.argv[2])),
    ready=lambda port: print(port, os.getpid(), flush=True),
)
"""
Start = Callable[..., Listener]


@dataclass
class Running:
    """A listener in a process of its own."""

    process: subprocess.Popen[str]
    pid: int
    """Of the listener itself, which is a child of the process when that is strace."""
    port: int
    spool: Path
    log: Path

    def events(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def rss_kib(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def waiting(self) -> list[Path]:
        return sorted((self.spool / "in").rglob("*.dcm"))


def make_settings(state: Path, **limits: object) -> Settings:
    """Give settings for a listener on a free loopback port, with a low watermark."""
    values: dict[str, Any] = {
        "port": 0, "min_free_bytes": 1, "peers": "any", "processes": 1, **limits,
    }  # fmt: skip
    loaded = settings_module.load(state)
    return loaded.model_copy(update={"site": Site(listener=Limits(**values))})


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start listeners in this process; they are stopped afterwards."""
    started: list[Listener] = []
    as_before = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())

    def start(**limits: object) -> Listener:
        listener = Listener(make_settings(tmp_path / f"state{len(started)}", **limits))
        listener.start()
        started.append(listener)
        return listener

    yield start
    for listener in started:
        listener.stop(within_s=5)
    structlog.configure(**as_before)


@contextmanager
def running_listener(
    folder: Path, *, wrap: tuple[str, ...] = (), **limits: object
) -> Iterator[Running]:
    """Run ``serve`` in a process of its own. ``wrap`` goes before the command, as in strace."""
    config = folder / "config"
    config.mkdir(parents=True, exist_ok=True)
    values = {"port": 0, "min_free_bytes": 1, "peers": "any", "processes": 1, **limits}
    (config / "site.yaml").write_text(yaml.safe_dump({"listener": values}))
    log = folder / "listener.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*wrap, sys.executable, "-c", SCRIPT, str(folder / "state"), str(config)],
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            env={
                **os.environ,
                "PYTHONDONTWRITEBYTECODE": "1",  # its renames would be counted
                "PYTHONFAULTHANDLER": "1",
            },
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        port, pid = map(int, line.split())
        try:
            yield Running(process, pid, port, folder / "state" / "spool", log)
        finally:
            if process.poll() is None:
                os.kill(pid, signal.SIGTERM)
                _see_it_end(process, pid, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _see_it_end(process: subprocess.Popen[str], pid: int, log: Path) -> None:
    """Wait until it has stopped; where it does not, fail with what each thread was doing."""
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.kill(pid, signal.SIGABRT)
        process.wait(10)
        pytest.fail(f"it does not stop: {log.read_text()[-5000:]}")


def waiting(listener: Listener) -> list[Path]:
    """Give the files in the spool's ``in``."""
    return listener.spool.incoming(10_000)


def stray_files(root: Path) -> list[Path]:
    """Give what is in a state folder and neither acknowledged nor journal nor made ahead."""
    return [
        path
        for path in root.rglob("*")
        if path.is_file()
        and path.parent.parent.name != "in"
        and path.parent.name not in ("journal", "ready")
    ]


def soon(holds: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return False


def steps_of(trace: Path, patterns: dict[str, str]) -> list[str]:
    """Give what strace saw, each system call by the name of the first pattern that fits."""
    found = []
    for line in trace.read_text(errors="replace").splitlines():
        names = (name for name, pattern in patterns.items() if re.search(pattern, line))
        if "resumed" not in line and (name := next(names, "")):
            found.append(name)
    return found
