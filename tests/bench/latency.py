"""Time from the last C-STORE of a one-image study to its report at the PACS.

Run: python -m tests.bench.latency [--studies 40]

The quiet period is set to 10 ms, so what is measured is the road itself: ingest, assemble,
preprocess, detect, decide, report, deliver, each in its own process. One study at a time, then all
at once. Sender, pipeline and PACS share the machine.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pynetdicom import AE, evt

from tests.builders import dx
from tests.path.site import Site, site
from tests.servers import free_port
from triage.destinations import Dimse
from triage.dimse import inspect, send

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"


class Arrivals:
    """When each study's report came to the PACS."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self._news = threading.Condition()

    def note(self, event: evt.Event) -> int:
        with self._news:
            self.at[str(event.dataset.StudyInstanceUID)] = time.monotonic()
            self._news.notify_all()
        return 0x0000

    def wait(self, uid: str, limit_s: float = 60) -> float:
        with self._news:
            assert self._news.wait_for(lambda: uid in self.at, limit_s), "no report came"
            return self.at[uid]


@contextmanager
def pacs(arrivals: Arrivals) -> Iterator[int]:
    """A PACS that only notes when what comes."""
    port, ae = free_port(), AE("BENCH")
    ae.add_supported_context(COMPREHENSIVE_3D_SR)
    server = ae.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, arrivals.note)]
    )
    assert server is not None
    try:
        yield port
    finally:
        server.shutdown()


def measure(running: Site, arrivals: Arrivals, folder: Path, count: int) -> dict[str, object]:
    """Send ``count`` studies one by one, then ``count`` at once."""
    to = Dimse(name="triage", ae_title="TRIAGE", host="127.0.0.1", port=running.port)
    made = []
    for number in range(2 * count + 2):
        dataset = dx(study=f"latency {number}", seed=number, rows=1024)
        path = folder / f"{number}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        made.append((str(dataset.StudyInstanceUID), inspect(path)))
    for uid, item in made[:2]:  # the first ones pay for what is loaded lazily
        send(item, to)
        arrivals.wait(uid)
    alone = []
    for uid, item in made[2 : count + 2]:
        send(item, to)
        sent = time.monotonic()
        alone.append(arrivals.wait(uid) - sent)
    started = time.monotonic()
    for _, item in made[count + 2 :]:
        send(item, to)
    last = max(arrivals.wait(uid) for uid, _ in made[count + 2 :])
    p50, p95 = np.percentile(alone, [50, 95])
    return {
        "studies": count,
        "p50_s": round(float(p50), 3),
        "p95_s": round(float(p95), 3),
        "longest_s": round(max(alone), 3),
        "together_studies_per_s": round(count / (last - started), 2),
    }


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=40)
    chosen = parser.parse_args()
    arrivals = Arrivals()
    with tempfile.TemporaryDirectory() as name, pacs(arrivals) as port:
        destination = {"name": "bench", "ae_title": "BENCH", "host": "127.0.0.1", "port": port}
        with site(
            Path(name), None, destinations=[destination],
            completeness={"quiet_s": 0.01, "quiet_s_by_modality": {}},
        ) as running:  # fmt: skip
            folder = Path(name) / "studies"
            folder.mkdir()
            found = measure(running, arrivals, folder, chosen.studies)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
