"""What lies in quarantine without a row, as after the database was lost, is shown again."""

from pathlib import Path
from typing import Final

from sqlalchemy import select

from db import quarantine
from db.engine import Database
from db.tables import QuarantineRow
from triage.commands.rebuild_passed import is_everybodys, is_gone, passed
from triage.commands.rebuild_study import Rebuilt
from triage.record.quarantined import quarantined

REASON: Final = "found-in-quarantine"
"""Why it was put there was in the row."""


def recall_quarantined(database: Database, root: Path, done: Rebuilt) -> None:
    """Write the rows of quarantined files that have none, and count them in ``done``.

    What could not be indexed has its row by then: it lies in the store as well.

    Raises:
        OSError: the folder cannot be read, or every file would meet it.
        SQLAlchemyError: the database takes no row.
    """
    with database.reading() as session:
        known = set(session.scalars(select(QuarantineRow.sha256)))
    for sha256, path in quarantined(root):
        if sha256 in known:
            continue
        try:
            with database.begin() as session:
                done.found += quarantine.note(session, sha256, path.stat().st_size, REASON)
        except OSError as why:
            if is_everybodys(database, why):
                raise
            if not is_gone(path, why):
                done.passed_over.append(passed(path, why))
