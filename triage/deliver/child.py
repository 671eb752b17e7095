"""The sending process: ``python -m triage.deliver.child FD``, one request after the other.

It ends when the other side of its socket is closed, and the kernel ends it when a send outlives
its deadline, also when nobody is left to kill it.
"""

import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydicom.errors import InvalidDicomError

from triage import dimse
from triage.deliver import wire
from triage.errors import Broken, TryAgain
from triage.settings import Destination

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
    to = Destination.model_validate(request["destination"])
    signal.setitimer(signal.ITIMER_REAL, to.deadline_s + GRACE_S)
    answer = attempt(content, to)
    signal.setitimer(signal.ITIMER_REAL, 0)
    wire.write(link, answer)
    return "status" in answer or _settled()


def attempt(content: bytes, to: Destination) -> dict[str, Any]:
    """Store one document and say in JSON what came of it."""
    try:
        with as_file(content) as path:
            return {"status": dimse.send(dimse.inspect(path), to)}
    except TryAgain as why:
        return {"again": str(why)}
    except Broken as why:
        return {"refused": [why.reason.code, why.reason.detail]}
    except InvalidDicomError:
        return {"refused": ["internal", "the document is no DICOM file"]}


@contextmanager
def as_file(content: bytes) -> Iterator[Path]:
    """Give the bytes a path that no other process sees, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("document"), "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)
            file.flush()
            yield Path(f"/proc/self/fd/{file.fileno()}")
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield Path(file.name)


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
