"""The sending process: ``python -m triage.deliver.child FD``, one request after the other.

It ends when the other side of its socket is closed, and the kernel ends it when a send outlives
its deadline, also when nobody is left to kill it.
"""

import os
import resource
import signal
import socket
import sys
import threading
import time
from dataclasses import asdict, astuple
from typing import Any, Final

from triage.deliver import commitment, transports, wire
from triage.destinations import ANY, Destination, Dimse
from triage.errors import Broken, InDoubt, TryAgain
from triage.finding import Document

GRACE_S: Final = 1.0
"""The parent kills at the deadline; this is for when it cannot."""
SETTLE_S: Final = 0.5


def main(descriptor: int) -> None:
    """Serve requests until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold patient data
    with socket.socket(fileno=descriptor) as link:
        wire.write(link, {"ready": True})
        while _serve(link):
            pass


def _serve(link: socket.socket) -> bool:
    """Do one request; False when this process should end."""
    try:
        request, content = wire.read(link)
    except (EOFError, OSError):
        return False
    to = ANY.validate_python(request["destination"])
    signal.setitimer(signal.ITIMER_REAL, to.deadline_s + GRACE_S)
    answer = answered(request, content, to)
    signal.setitimer(signal.ITIMER_REAL, 0)
    wire.write(link, answer)
    return "status" in answer or _settled()


def answered(request: dict[str, Any], content: bytes, to: Destination) -> dict[str, Any]:
    """Do what is asked and say in JSON what came of it."""
    try:
        return _done(request, content, to)
    except TryAgain as why:
        return {"again": str(why), "code": why.status, "in_doubt": isinstance(why, InDoubt)}
    except Broken as why:
        return {"refused": [why.reason.code, why.reason.detail], "code": why.status}


def _done(request: dict[str, Any], content: bytes, to: Destination) -> dict[str, Any]:
    if request.get("do") == "commit" and isinstance(to, Dimse):
        objects = [(str(one), str(other)) for one, other in request["objects"]]
        promised = commitment.request_commitment(request["transaction_uid"], objects, to)
        return {"status": 0, "promises": [astuple(one) for one in promised]}
    if request.get("do") == "probe":
        from triage.deliver.probe import probe  # with every transport's library

        return {"status": 0, "found": [asdict(one) for one in probe(to)]}
    transport = transports.load(to.kind)
    document = Document(content=content, **request["document"])
    if request.get("in_doubt") and transports.holds(transport, document, to):
        return {"status": 0, "found": True}
    return {"status": transport.store(document, to)}


def _settled() -> bool:
    """Tell whether a failed association left nothing behind; a stuck thread ends the process."""
    until = time.monotonic() + SETTLE_S
    while threading.active_count() > 1:
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]))
    os._exit(0)  # not waiting for threads that may never end
