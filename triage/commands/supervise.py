"""One parent, several processes: start, watch, restart with growing pauses, stop."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from triage import log

STOP_GRACE_S: Final = 30.0
LONGEST_PAUSE_S: Final = 30.0
STEADY_S: Final = 20.0
"""A process that has run this long has its pauses forgotten."""
PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Program:
    """One process of the product."""

    name: str
    arguments: tuple[str, ...]
    """After ``python -m``."""


@dataclass(slots=True)
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    started: float
    crashes: int = 0
    restart_at: float | None = field(default=None)


class Supervisor:
    """Keeps programs running; their logs go to one file each."""

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = {**os.environ, **environment}
        self._running: list[_Running] = []
        logs.mkdir(parents=True, exist_ok=True, mode=0o700)

    def start(self, programs: Sequence[Program]) -> None:
        """Start the programs."""
        for program in programs:
            self._running.append(_Running(program, self._spawn(program), time.monotonic()))

    def watch(self) -> None:
        """Start again what has ended, once its pause is over. Call it every second or so."""
        for one in self._running:
            if one.restart_at is not None and time.monotonic() >= one.restart_at:
                one.process, one.started = self._spawn(one.program), time.monotonic()
                one.restart_at = None
            elif one.restart_at is None and one.process.poll() is not None:
                steady = time.monotonic() - one.started > STEADY_S
                one.crashes = 1 if steady else one.crashes + 1
                pause_s = min(2.0 ** (one.crashes - 1) / 2, LONGEST_PAUSE_S)
                one.restart_at = time.monotonic() + pause_s
                log.get().warning(
                    "process.ended",
                    process=one.program.name,
                    code=one.process.returncode,
                    again_in_s=pause_s,
                    log=str(self.log_of(one.program)),
                )

    def run(self, until: Callable[[], bool]) -> None:
        """Watch until ``until`` says so."""
        while not until():
            self.watch()
            time.sleep(0.5)

    def ended(self) -> list[Program]:
        """Give the programs that are not running now."""
        return [one.program for one in self._running if one.process.poll() is not None]

    def pids(self) -> dict[str, int]:
        """Give each program's process id."""
        return {one.program.name: one.process.pid for one in self._running}

    def log_of(self, program: Program) -> Path:
        """Give the file a program's log lines go to."""
        return self._logs / f"{program.name}.log"

    def stop(self) -> None:
        """Ask every process to finish its work in hand; end it after the grace."""
        for one in self._running:
            if one.process.poll() is None:
                one.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_GRACE_S
        for one in self._running:
            try:
                one.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(one.process.pid, signal.SIGKILL)  # its session: also its children
                one.process.wait()
        self._running.clear()

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        with self.log_of(program).open("ab") as sink:
            return subprocess.Popen(  # noqa: S603 - our own interpreter and modules
                [sys.executable, "-m", *program.arguments],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one thread, nothing to dead-lock
            )


def _die_with_parent() -> None:
    """Have the kernel end the child when its supervisor dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
