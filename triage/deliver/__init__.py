"""Deliver: one document to one destination, under a deadline that holds whatever the peer does.

The sending happens in a child process. A peer that stops reading can block a send beyond every
timeout of the protocol; a process can always be ended. The child lives on between documents, so
that the ordinary case costs no start.
"""

import atexit
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from triage.deliver import wire
from triage.errors import Broken, TryAgain
from triage.finding import Document, Receipt
from triage.settings import Destination

START_S: Final = 20.0
ROOT: Final = Path(__file__).parents[2]


def deliver(document: Document, destination: Destination) -> Receipt:
    """Store the document's bytes at the destination.

    Gives up after ``destination.deadline_s`` seconds, give or take the end of a process.

    Raises:
        TryAgain: nobody there, busy, or no answer in time: send the same bytes again.
        Broken: the destination will never take it (code "refused").
    """
    status = _sender_of_this_process().send(document, destination)
    return Receipt(document.sop_instance_uid, destination.name, status)


def warm() -> None:
    """Start the sending process before the first document comes."""
    _sender_of_this_process().start()


def stop() -> None:
    """End the sending process. The next document starts another."""
    _sender_of_this_process().stop()


class Sender:
    """A child process that sends one document at a time, and can be killed."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Give the child's process id, None while there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Have a child that is ready.

        Raises:
            TryAgain: it did not come up.
        """
        with self._lock:
            self._ready_link()

    def stop(self) -> None:
        """End the child, whatever it is doing."""
        with self._lock:
            self._kill()

    def send(self, document: Document, to: Destination) -> int:
        """Give the C-STORE status under which the destination keeps the document.

        Raises:
            TryAgain, Broken: as ``deliver``.
        """
        with self._lock:
            link = self._ready_link()
            until = time.monotonic() + to.deadline_s
            try:
                request = {"destination": to.model_dump(mode="json")}
                wire.write(link, request, document.content, until=until)
                answer, _ = wire.read(link, until=until)
            except TimeoutError:
                self._kill()
                msg = (
                    f"{to.name}: not done after {to.deadline_s:g} s; the sending process was ended"
                )
                raise TryAgain(msg) from None
            except (OSError, EOFError):
                self._kill()
                msg = f"{to.name}: the sending process ended"
                raise TryAgain(msg) from None
        return _status(answer)

    def _ready_link(self) -> socket.socket:
        if self._link is not None and self._process is not None and self._process.poll() is None:
            return self._link
        self._kill()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "triage.deliver.child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a traceback could quote a data set
                env={**os.environ, "PYTHONPATH": _path()},
            )
        self._link = ours
        try:
            wire.read(ours, until=time.monotonic() + START_S)
        except (OSError, EOFError):
            self._kill()
            msg = "the sending process did not start"
            raise TryAgain(msg) from None
        return ours

    def _kill(self) -> None:
        if self._link is not None:
            self._link.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._link = self._process = None


_senders: Final[list[Sender]] = []


def _sender_of_this_process() -> Sender:
    """Give this process's sender. A forked process must not talk to its parent's child."""
    if not _senders or _senders[0].owner != os.getpid():
        _senders[:] = [Sender()]
    return _senders[0]


@atexit.register
def _at_exit() -> None:
    with contextlib.suppress(IndexError):
        if _senders[0].owner == os.getpid():
            _senders[0].stop()


def _status(answer: dict[str, Any]) -> int:
    if "again" in answer:
        raise TryAgain(str(answer["again"]))
    if "refused" in answer:
        code, detail = answer["refused"]
        raise Broken(code, detail)
    return int(answer["status"])


def _path() -> str:
    """Let the child import the same package as we, wherever it was started."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
