"""Whether any list may look otherwise than a moment ago, from the ends of four indexes."""

from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.reader_claims import ReaderClaimRow
from db.tables import StudyRow, TransitionRow

ENDS: Final = (StudyRow.id, TransitionRow.id, StudyRow.opened_at, ReaderClaimRow.changed_at)
LATEST: Final = select(*(select(func.max(end)).scalar_subquery() for end in ENDS))


def stamp(session: Session) -> tuple[object, ...]:
    """Give a value that changes when a study comes, moves, is opened, claimed or released.

    PostgreSQL may commit a lower number after a higher one: who waits for a change looks by
    itself now and then too.
    """
    return tuple(session.execute(LATEST).one())
