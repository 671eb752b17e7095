"""Several processes that do one work: fork them, watch, start again what ends, stop them all.

The parent does nothing but this, has no threads, and opens what the children share before it forks:
a child's end costs its own associations and no connection that waits to be accepted.
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

from triage import log

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
START_S: Final = 30.0
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0
STEADY_S: Final = 20.0
"""A process that has run this long has its pauses forgotten."""
LOOK_S: Final = 0.5
PR_SET_PDEATHSIG: Final = 1

Work = Callable[[Callable[[], None]], None]
"""Work until SIGTERM; call what is given once ready."""


class Crew:
    """Processes forked from this one."""

    def __init__(
        self, count: int, work: Work, bury: Callable[[int], None], leave: Callable[[], None]
    ) -> None:
        """Fork nothing yet.

        ``bury`` is told the process id of a child that ended on its own; ``leave`` is called
        before the children are asked to end.
        """
        self._count = count
        self._work = work
        self._bury = bury
        self._leave = leave
        self._born: dict[int, float] = {}
        self._crashes = 0
        self._again_at: list[float] = []
        self._ready_read, self._ready_write = os.pipe()

    def run(self, ready: Callable[[], None], within_s: float) -> None:
        """Work until SIGTERM or SIGINT, then let the children end, for ``within_s`` at most.

        Raises:
            RuntimeError: not all were ready in time, or one ended before.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            for _ in range(self._count):
                self._fork()
            self._wait_until_ready()
            ready()
            while self._watch():
                self._replace()
        finally:
            self._stop(within_s)
            os.close(self._ready_read)
            os.close(self._ready_write)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _watch(self) -> bool:
        """Wait until a child ends or a pause is over; tells whether to go on."""
        pause_s = min((at - time.monotonic() for at in self._again_at), default=LOOK_S)
        happened = signal.sigtimedwait(SIGNALS, max(0.0, min(pause_s, LOOK_S)))
        return happened is None or happened.si_signo == signal.SIGCHLD

    def _replace(self) -> None:
        """Bury what has ended, and start another once its pause is over."""
        for pid, code in self._ended():
            steady = time.monotonic() - self._born.pop(pid) > STEADY_S
            self._crashes = 1 if steady else self._crashes + 1
            pause_s = min(FIRST_PAUSE_S * 2.0 ** (self._crashes - 1), LONGEST_PAUSE_S)
            self._again_at.append(time.monotonic() + pause_s)
            log.get().error("listener.process-ended", pid=pid, code=code, again_in_s=pause_s)
            self._bury(pid)
        for at in [at for at in self._again_at if at <= time.monotonic()]:
            self._again_at.remove(at)
            self._fork()

    def _fork(self) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._born[pid] = time.monotonic()
            return
        code = 1
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            _die_with(parent)
            self._work(lambda: _tell(self._ready_write))
            code = 0
        except BaseException as why:  # noqa: BLE001 - the parent starts another
            log.get().error("listener.process-failed", error=type(why).__name__)
        finally:
            os._exit(code)

    def _wait_until_ready(self) -> None:
        deadline, told = time.monotonic() + START_S, 0
        while told < self._count:
            if select.select([self._ready_read], [], [], 0.05)[0]:
                told += len(os.read(self._ready_read, self._count))
            if list(self._ended()) or time.monotonic() > deadline:
                msg = "a process of the listener did not start; its last log line tells why"
                raise RuntimeError(msg)

    def _ended(self) -> list[tuple[int, int]]:
        """Give process id and exit code of the children that have ended since the last time."""
        found = []
        for pid in self._born:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                found.append((pid, os.waitstatus_to_exitcode(status)))
        return found

    def _stop(self, within_s: float) -> None:
        self._leave()
        deadline = time.monotonic() + within_s
        for pid in self._born:
            _signal(pid, signal.SIGTERM)
        while self._born and time.monotonic() < deadline:
            for pid, _ in self._ended():
                del self._born[pid]
            signal.sigtimedwait([signal.SIGCHLD], 0.1)
        for pid in self._born:
            _signal(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._born.clear()


def _tell(descriptor: int) -> None:
    os.write(descriptor, b"\1")


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _die_with(parent: int) -> None:
    """Have the kernel ask this process to stop when its parent dies, however that dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
