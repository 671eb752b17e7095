"""How many studies a list holds, counted no further than a bound: no request reads every row."""

from typing import Final

from sqlalchemy import func, literal, select
from sqlalchemy.orm import Session

from db.listing import Clock, Listing, condition
from db.tables import StudyRow

MOST: Final = 10_000


def counts(session: Session, clock: Clock, user_id: int = 0) -> dict[Listing, int]:
    """Count every list, each up to ``MOST``, from an index of its own."""
    return {one: count(session, one, clock, user_id) for one in Listing}


def count(session: Session, listing: Listing, clock: Clock, user_id: int = 0) -> int:
    """Count one list, up to ``MOST``."""
    wanted = condition(listing, clock, user_id)
    some = select(literal(1)).select_from(StudyRow).where(wanted).limit(MOST)
    return session.scalar(select(func.count()).select_from(some.subquery())) or 0
