"""One site in this process: settings, a spool, and a worker that drains what is due."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml
from pydicom.dataset import FileDataset
from sqlalchemy import select

from db.engine import Database, now
from db.tables import (
    AuditRow,
    DecisionRow,
    DetectionRow,
    GenerationRow,
    OutboxRow,
    StudyRow,
    TransitionRow,
)
from tests.builders import spooled
from triage.destinations import Destination
from triage.ingest import ingest_all
from triage.settings import Settings, load
from triage.spool import Spool
from workers.local import Worker

Row = TypeVar(
    "Row", AuditRow, DecisionRow, DetectionRow, GenerationRow, OutboxRow, StudyRow, TransitionRow
)
ALL = ("cpu", "gpu", "out")


@dataclass
class House:
    database: Database
    settings: Settings
    worker: Worker

    def receive(self, *datasets: FileDataset) -> None:
        """Spool and index; nothing is due for an hour."""
        spool = Spool(self.settings.spool)
        spooled(spool, *datasets)
        ingest_all(self.database, spool, self.settings.site.completeness)

    def make_due(self) -> None:
        """Let the waits pass."""
        with self.database.begin() as session:
            at = now(session)
            for study in session.scalars(select(StudyRow)):
                study.due_at = at
            for document in session.scalars(select(OutboxRow).where(OutboxRow.due_at.is_not(None))):
                document.due_at = at

    def work(self) -> StudyRow:
        """Let the waits pass, drain; gives the only study."""
        self.make_due()
        self.worker.drain()
        [study] = self.rows(StudyRow)
        return study

    def rows(self, table: type[Row]) -> list[Row]:
        with self.database.reading() as session:
            return list(session.scalars(select(table).order_by(table.id)))


@contextmanager
def house(
    database: Database, state: Path, *destinations: Destination, **sections: object
) -> Iterator[House]:
    """Give a site with these destinations; ends the worker's children."""
    configs = state / "configs"
    configs.mkdir(parents=True)
    policy = sections.pop("policy", None)
    routes = sections.pop("routes", None)
    for name, content in (("policy.yaml", policy), ("routes.yaml", routes)):
        if content is not None:
            (configs / name).write_text(yaml.safe_dump(content))
    site = {
        "completeness": {"quiet_s": 3600, "quiet_s_by_modality": {}},
        "destinations": [one.model_dump(mode="json") for one in destinations],
        "work": {"retry_first_s": 60, "retry_longest_s": 600},
        **sections,
    }
    (configs / "site.yaml").write_text(yaml.safe_dump(site))
    settings = load(state)
    one = House(database, settings, Worker(database, settings, ALL))
    try:
        yield one
    finally:
        one.worker.bench.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "lease"]
