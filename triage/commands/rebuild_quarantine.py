"""What lies in quarantine without a row, as after the database was lost, is shown again."""

from pathlib import Path
from typing import Final

from sqlalchemy import select

from db import quarantine
from db.engine import Database
from db.tables import QuarantineRow
from triage.commands.rebuild_passed import DIGEST

REASON: Final = "found-in-quarantine"
"""Why it was put there is not known any more, unless it can be told from the file."""


def recall_quarantined(database: Database, root: Path) -> int:
    """Write the rows of quarantined files that have none; gives how many.

    What could not be indexed has its row by then: it lies in the store as well.

    Raises:
        OSError: the folder cannot be read.
        SQLAlchemyError: the database takes no row.
    """
    with database.reading() as session:
        known = set(session.scalars(select(QuarantineRow.sha256)))
    found = 0
    for path in sorted((root / "quarantine").iterdir()):
        if DIGEST.fullmatch(path.stem) and path.stem not in known:
            with database.begin() as session:
                found += quarantine.note(session, path.stem, path.stat().st_size, REASON)
    return found
