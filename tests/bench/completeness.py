"""Time from a study's last image to "complete", by MPPS, by count, and by silence.

Run: python -m tests.bench.completeness [--studies 20] [--quiet 30]

A real site (listener, ingestor, workers, dispatcher, each in its own process) receives studies of
40 CT slices of 64 x 64 over C-STORE. Three ways of knowing: a modality (pynetdicom) ends its
performed step right after the last image; an Orthanc forwards the study and is asked by C-FIND how
many instances it has; nobody says anything. Measured is the closing's own row: when the generation
was closed, less the listener's time of the last instance. All processes share the machine.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from sqlalchemy import func, select

from db.engine import Database
from db.evidence import ClosingRow, SeriesArrivalRow
from db.tables import StudyRow
from tests.builders import dx, part10
from tests.path.site import Site, site
from tests.servers import Orthanc, orthanc
from tests.triage.receive.modality import perform

LIMIT_S = 300.0
SLICES = 40


def slices(number: int) -> list[FileDataset]:
    """A CT study of one series."""
    made = []
    series = generate_uid()
    for index in range(SLICES):
        one = dx(study=f"completeness {number}", seed=index, instance=index + 1, rows=64)
        one.Modality, one.SeriesInstanceUID = "CT", series
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = CTImageStorage
        one.StudyInstanceUID = generate_uid(entropy_srcs=["completeness", str(number)])
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        made.append(one)
    return made


def send(port: int, datasets: Sequence[FileDataset]) -> None:
    ae = AE(ae_title="CT1")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", port, ae_title="TRIAGE")
    assert association.is_established
    for one in datasets:
        assert association.send_c_store(one).Status == 0x0000
    association.release()


def by_mpps(running: Site, number: int) -> str:
    datasets = slices(number)
    send(running.port, datasets)
    uids = [str(one.SOPInstanceUID) for one in datasets]
    perform(
        running.port, str(datasets[0].StudyInstanceUID),
        {str(datasets[0].SeriesInstanceUID): uids},
    )  # fmt: skip
    return str(datasets[0].StudyInstanceUID)


def by_count(server: Orthanc, number: int) -> str:
    datasets = slices(number)
    for one in datasets:
        server.post("/instances", part10(one))
    uid = str(datasets[0].StudyInstanceUID)
    [found] = server.find("Study", StudyInstanceUID=uid)
    server.post("/modalities/us/store", {"Resources": [found["ID"]], "Synchronous": True})
    return uid


def by_silence(running: Site, number: int) -> str:
    datasets = slices(number)
    send(running.port, datasets)
    return str(datasets[0].StudyInstanceUID)


def waited(database: Database, uid: str) -> tuple[str, float]:
    """Wait until a study is closed; gives by what, and how long after its last instance."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        with database.reading() as session:
            study = session.scalar(select(StudyRow).where(StudyRow.study_instance_uid == uid))
            row = session.scalar(
                select(ClosingRow)
                .join(StudyRow, StudyRow.id == ClosingRow.study_id)
                .where(StudyRow.study_instance_uid == uid)
            )
            if study is not None and row is not None:
                last = session.scalar(
                    select(func.max(SeriesArrivalRow.last_at)).where(
                        SeriesArrivalRow.study_id == study.id
                    )
                )
                assert last is not None
                assert row.held == SLICES, f"closed with {row.held} of {SLICES}"
                return row.kind, (row.closed_at - last).total_seconds()
        time.sleep(0.02)
    msg = f"not closed after {LIMIT_S:.0f} s"
    raise AssertionError(msg)


def summary(found: Sequence[tuple[str, float]]) -> dict[str, object]:
    seconds = [one for _, one in found]
    return {
        "studies": len(found),
        "closed_by": sorted({kind for kind, _ in found}),
        "p50_s": round(statistics.median(seconds), 3),
        "p95_s": round(float(np.percentile(seconds, 95)), 3),
        "max_s": round(max(seconds), 3),
    }


@contextmanager
def house(folder: Path, quiet_s: float) -> Iterator[tuple[Site, Orthanc]]:
    """Run Orthanc and a site that knows it as the source of what ORTHANC sends."""
    with orthanc(folder / "orthanc", DicomTimeout=60) as server:
        source = {
            "name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1",
            "port": server.dicom_port, "of": ["ORTHANC"], "max_per_minute": 600,
        }  # fmt: skip
        rules = {"quiet_s": quiet_s, "quiet_s_by_modality": {}, "sources": [source]}
        with site(folder / "site", None, completeness=rules) as running:
            us = json.dumps(["TRIAGE", "127.0.0.1", running.port]).encode()
            url = f"http://127.0.0.1:{server.http_port}/modalities/us"
            urllib.request.urlopen(urllib.request.Request(url, us, method="PUT"), timeout=20)
            yield running, server


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--quiet", type=float, default=30.0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, house(Path(name), chosen.quiet) as (run, server):
        numbers = iter(range(10_000))
        ways: dict[str, tuple[Callable[[], str], int]] = {
            "mpps": (lambda: by_mpps(run, next(numbers)), chosen.studies),
            "count": (lambda: by_count(server, next(numbers)), chosen.studies),
            "silence": (lambda: by_silence(run, next(numbers)), 2),
        }
        found = {
            name: summary([waited(run.database, send()) for _ in range(count)])
            for name, (send, count) in ways.items()
        }
    sys.stdout.write(json.dumps({"slices": SLICES, "quiet_s": chosen.quiet, **found}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
