"""Deliver: one document to one destination, under a deadline that holds whatever the peer does.

The sending happens in a child process. A peer that stops reading can block a send beyond every
timeout of the protocol; a process can always be ended. The child lives on between documents, so
that the ordinary case costs no start.
"""

import atexit
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from triage.commitment import Promise
from triage.deliver import wire
from triage.destinations import Capability, Destination, Dimse
from triage.errors import Broken, InDoubt, TryAgain
from triage.finding import Document, Receipt

START_S: Final = 20.0
ROOT: Final = Path(__file__).parents[2]


def deliver(document: Document, destination: Destination, *, in_doubt: bool = False) -> Receipt:
    """Store the document's bytes at the destination.

    Gives up after ``destination.deadline_s`` seconds, give or take the end of a process. With
    ``in_doubt`` the destination is asked first whether it holds the document: an earlier try ended
    without an answer.

    Raises:
        InDoubt: no answer, or not in time: the destination may hold it.
        TryAgain: nobody there, or busy: send the same bytes again.
        Broken: the destination will never take it (code "refused").
    """
    status = sender(destination.name).send(document, destination, in_doubt=in_doubt)
    return Receipt(document.sop_instance_uid, destination.name, status)


def request_commitment(
    transaction_uid: str, objects: Sequence[tuple[str, str]], destination: Dimse
) -> tuple[Promise, ...]:
    """Ask a PACS for Storage Commitment of (SOP class, SOP instance) pairs.

    Gives the promises that came at once; others come later, to our listener.

    Raises:
        TryAgain: nobody answers, or the request is not taken.
        Broken: it does not offer Storage Commitment.
    """
    asked = {"do": "commit", "transaction_uid": transaction_uid, "objects": list(objects)}
    answer = sender(destination.name).ask(asked, destination)
    return tuple(Promise(*one) for one in answer["promises"])


def capabilities(destination: Destination) -> tuple[Capability, ...]:
    """Ask a destination what it can do; never raises for what it cannot."""
    try:
        answer = sender(destination.name).ask({"do": "probe"}, destination)
    except TryAgain as why:
        return (Capability("associate", accepted=False, detail=str(why)),)
    return tuple(Capability(**one) for one in answer["found"])


def warm(names: Iterable[str]) -> None:
    """Start the sending processes of some destinations before their first document comes."""
    for name in names:
        sender(name).start()


def stop() -> None:
    """End this process's sending processes. The next document starts another."""
    for name in _senders:
        if _senders[name].owner == os.getpid():
            _senders[name].stop()


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

    def send(self, document: Document, to: Destination, *, in_doubt: bool = False) -> int:
        """Give the status under which the destination keeps the document.

        Raises:
            InDoubt, TryAgain, Broken: as ``deliver``.
        """
        asked = {
            "document": {
                "kind": document.kind,
                "sop_class_uid": document.sop_class_uid,
                "sop_instance_uid": document.sop_instance_uid,
            },
            "in_doubt": in_doubt,
        }
        return int(self.ask(asked, to, document.content)["status"])

    def ask(self, request: dict[str, Any], to: Destination, content: bytes = b"") -> dict[str, Any]:
        """Have the child do something with the destination, within its deadline.

        Raises:
            InDoubt, TryAgain, Broken: as ``deliver``.
        """
        with self._lock:
            link = self._ready_link()
            until = time.monotonic() + to.deadline_s
            try:
                request = {**request, "destination": to.model_dump(mode="json")}
                wire.write(link, request, content, until=until)
                answer, _ = wire.read(link, until=until)
            except TimeoutError:
                self._kill()
                msg = (
                    f"{to.name}: not done after {to.deadline_s:g} s; the sending process was ended"
                )
                raise InDoubt(msg) from None
            except (OSError, EOFError):
                self._kill()
                msg = f"{to.name}: the sending process ended"
                raise InDoubt(msg) from None
        return _done(answer)

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


_senders: Final[dict[str, Sender]] = {}


def sender(name: str) -> Sender:
    """Give this process's sender for a destination, so that none waits for another's peer.

    A forked process must not talk to its parent's child.
    """
    if name not in _senders or _senders[name].owner != os.getpid():
        _senders[name] = Sender()
    return _senders[name]


@atexit.register
def _at_exit() -> None:
    stop()


def _done(answer: dict[str, Any]) -> dict[str, Any]:
    """Give the child's answer, or raise what it says."""
    if "again" in answer:
        again = InDoubt if answer["in_doubt"] else TryAgain
        raise again(str(answer["again"]), status=answer["code"])
    if "refused" in answer:
        code, detail = answer["refused"]
        raise Broken(code, detail, status=answer["code"])
    return answer


def _path() -> str:
    """Let the child import the same package as we, wherever it was started."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
