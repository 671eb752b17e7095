"""What becomes of one file: sent over the wire, indexed, and worked on until it is at rest."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import select

from db.engine import Database, connect, now
from db.tables import InstanceRow, QuarantineRow, StudyRow
from tests.conftest import postgres_emptied
from tests.servers import Postgres
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
    empty: Callable[[], object]

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
        self.empty()

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
def road(folder: Path, empty: Path, server: Postgres | None = None) -> Iterator[Road]:
    """Run a listener; the rows are in a copy of ``empty``, a migrated file, or on a server."""
    with running_listener(folder) as running:
        settings = load(folder / "state", folder / "config")
        rows = settings.state / "rows.sqlite"
        emptied: Callable[[], object] = partial(_copy, empty, rows)
        if server is not None:
            emptied = partial(postgres_emptied, server)
        database = connect(f"sqlite:///{rows}" if server is None else postgres_emptied(server))
        worker = Worker(database, settings, ("cpu", "gpu"))
        try:
            yield Road(running, settings, Spool(settings.spool), database, worker, emptied)
        finally:
            worker.bench.close()
            database.dispose()


def _copy(empty: Path, rows: Path) -> None:
    for leftover in rows.parent.glob(f"{rows.name}-*"):
        leftover.unlink()
    shutil.copy(empty, rows)
