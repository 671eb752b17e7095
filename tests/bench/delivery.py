"""How long a report takes to Orthanc on loopback: python -m tests.bench.delivery [documents]

Over C-STORE and, where the plugin is installed, STOW-RS; each document with its own UID. Beside it
the whole lane: claim, send, write down, on SQLite with every commit synced. Prints milliseconds.
"""

import io
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import structlog

from db import schema
from db.engine import Database, connect, now
from db.tables import OutboxRow, StudyRow
from tests.servers import orthanc
from tests.triage.deliver.test_stow import PLUGIN
from tests.triage.outputs import studies
from triage import deliver
from triage.destinations import Destination, Dimse, Stow
from triage.finding import Document
from triage.outputs import structured_report
from triage.settings import load
from workers.lanes import Lane

LIMIT_MS = 100.0


def documents(count: int) -> Iterator[Document]:
    """Give that many reports of one study, each its own instance."""
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    made = structured_report.build(assessment, studies.context())
    report = pydicom.dcmread(io.BytesIO(made.content))
    for number in range(1, count + 1):
        report.SOPInstanceUID = f"{made.sop_instance_uid[:50]}.{number}"
        report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
        buffer = io.BytesIO()
        report.save_as(buffer)
        yield Document(made.kind, made.sop_class_uid, str(report.SOPInstanceUID), buffer.getvalue())


def timed(work: Callable[[], object]) -> float:
    """Give how many milliseconds it takes."""
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000


def tell(what: str, took_ms: list[float]) -> bool:
    """Print median and 95th percentile; tells whether that is within the limit."""
    p95 = statistics.quantiles(took_ms, n=20)[-1]
    middle = statistics.median(took_ms)
    sys.stdout.write(f"{what:24} n {len(took_ms)}  p50 {middle:6.1f}  p95 {p95:6.1f} ms\n")
    return p95 < LIMIT_MS


def sending(to: Destination, count: int) -> list[float]:
    """Send each document alone."""
    waiting = list(documents(count + 1))
    deliver.deliver(waiting.pop(), to)  # starts the sending process
    return [timed(lambda one=one: deliver.deliver(one, to)) for one in waiting]  # type: ignore[misc]


def lane(to: Dimse, count: int, folder: Path) -> list[float]:
    """Send through the outbox of a database."""
    settings = load(folder / "state")
    url = f"sqlite:///{folder / 'rows.sqlite'}"
    schema.upgrade(url)
    database = connect(url)
    queue(database, to.name, documents(count + 1))
    way = Lane(database, settings, to)
    took_ms = [timed(way.step) for _ in range(count + 1)]
    database.dispose()
    return took_ms[1:]


def queue(database: Database, destination: str, waiting: Iterator[Document]) -> None:
    """Put documents into the outbox of one study."""
    with database.begin() as session:
        at = now(session)
        study = StudyRow(
            study_instance_uid="2.25.1", due_at=at, received_at=at, last_instance_at=at
        )
        session.add(study)
        session.flush()
        session.add_all(
            OutboxRow(
                study_id=study.id, generation=1, destination=destination, kind=one.kind,
                sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid,
                content=one.content, sha256="", built_at=at, due_at=at,
            )
            for one in waiting
        )  # fmt: skip


def main(count: int) -> int:
    """Print the table; 1 when a 95th percentile is above the limit."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    web: dict[str, Any] = {}
    if PLUGIN.exists():
        web = {"Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with orthanc(folder / "orthanc", **web) as pacs:
            store = Dimse(name="store", ae_title="O", host="127.0.0.1", port=pacs.dicom_port)
            held = [tell("C-STORE", sending(store, count))]
            if web:
                url = f"http://127.0.0.1:{pacs.http_port}/dicom-web"
                held.append(tell("STOW-RS", sending(Stow(name="web", url=url), count)))
            held.append(tell("lane, C-STORE, SQLite", lane(store, count, folder)))
        deliver.stop()
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
