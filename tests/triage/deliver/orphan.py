"""A parent that dies while its child is stuck in a send."""

import os
import threading
import time
from pathlib import Path

from tests.triage.peers import destination
from triage.deliver import Sender
from triage.finding import Document


def orphan(port: int, path: str) -> None:
    """Send to a peer that gets stuck, print the child's process id, and vanish."""
    sender = Sender()
    sender.start()
    document = Document("image", "", "", Path(path).read_bytes())
    to = destination(port, "STORESCP", deadline_s=4.0)
    threading.Thread(target=sender.send, args=(document, to), daemon=True).start()
    time.sleep(1.5)
    os.write(1, str(sender.pid).encode())
    os._exit(0)
