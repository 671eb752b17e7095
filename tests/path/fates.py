"""What becomes of one file: sent over the wire, indexed, and worked on until it is at rest."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from db.engine import Database, connect, now
from db.tables import InstanceRow, QuarantineRow, StudyRow
from tests.triage.receive.conftest import Running, running_listener
from tests.triage.receive.test_hostile import REJECTED, File, send
from triage.ingest import ingest_all
from triage.settings import Settings, load
from triage.spool import Spool
from workers.local import Worker


@dataclass
class Road:
    """A listener in a process of its own; ingestor and worker in this one."""

    running: Running
    settings: Settings
    spool: Spool
    database: Database
    worker: Worker
    empty: Path

    def fate(self, *files: File) -> str:
        """Send files as if to a site of their own; gives the last answer, or what came of them.

        "refused 0xC000", "not offered" (no presentation context), or outcome and reason code, as
        in "not analysed no-image".
        """
        self.forget()
        answers = [send(self.running.port, file) for file in files]
        if answers[-1] == REJECTED:
            return "not offered"
        if answers[-1] != 0:
            return f"refused 0x{answers[-1]:04X}"
        self.ingest()
        with self.database.begin() as session:
            for study in session.scalars(select(StudyRow)):
                study.due_at = now(session)
        self.worker.drain()
        assert self.rows() == sum(answer == 0 for answer in answers)
        return self._outcome()

    def ingest(self) -> None:
        """Index everything that was received."""
        while ingest_all(self.database, self.spool, self.settings.site.completeness):
            pass

    def forget(self) -> None:
        """Empty the database; its statements stay compiled."""
        self.database.dispose()
        rows = self.settings.state / "rows.sqlite"
        for leftover in rows.parent.glob(f"{rows.name}-*"):
            leftover.unlink()
        shutil.copy(self.empty, rows)

    def rows(self) -> int:
        """Give how many received files the database accounts for."""
        with self.database.reading() as session:
            kept = len(session.scalars(select(QuarantineRow)).all())
            return kept + sum(session.scalars(select(InstanceRow.copies)))

    def _outcome(self) -> str:
        with self.database.reading() as session:
            for file in session.scalars(select(QuarantineRow)):
                return f"quarantined {file.reason_code}"
            [study] = session.scalars(select(StudyRow))
            return f"{study.outcome} {study.reason_code or ''}".strip()


@contextmanager
def road(folder: Path, empty: Path) -> Iterator[Road]:
    """Run a listener; ``empty`` is a migrated database's file."""
    with running_listener(folder) as running:
        settings = load(folder / "state", folder / "config")
        database = connect(f"sqlite:///{settings.state / 'rows.sqlite'}")
        worker = Worker(database, settings, ("cpu", "gpu"))
        try:
            yield Road(running, settings, Spool(settings.spool), database, worker, empty)
        finally:
            worker.bench.close()
            database.dispose()
