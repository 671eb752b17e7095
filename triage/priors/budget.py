"""How much a source was asked for, and whether it may be asked now.

Counted in rows, so it stands over restarts and over all processes.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.engine import now
from db.priors import PriorRequestRow
from db.tables import InstanceRow
from triage.errors import TriageError
from triage.prior_sources import PriorSource

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


class NotNow(TriageError):
    """The source's budget is used up, or its window is closed. Later it is not."""

    def __init__(self, why: str, reason: str = "not-now") -> None:
        self.reason = reason
        """What a prior that was begun is "partial" for: "budget" where bytes are used up."""
        super().__init__(why)


def spend(session: Session, source: PriorSource, kind: str) -> int:
    """Write down that a request is about to be made; gives its number.

    Raises:
        NotNow: it may not be made.
    """
    budget, at = source.budget, now(session)
    if not in_window(budget.window, datetime.now().astimezone()):
        msg = f"{source.name} is asked within {budget.window} only"
        raise NotNow(msg)
    here = PriorRequestRow.source == source.name
    asked = select(func.count()).where(here, PriorRequestRow.at > at - HOUR)
    if (session.scalar(asked) or 0) >= budget.requests_per_hour:
        msg = f"{source.name}: {budget.requests_per_hour} requests within the hour"
        raise NotNow(msg)
    if bytes_left(session, source) <= 0:
        raise no_bytes(source)
    row = PriorRequestRow(source=source.name, kind=kind, size_bytes=0, at=at)
    session.add(row)
    session.flush()
    return row.id


def no_bytes(source: PriorSource) -> NotNow:
    """Give what to raise, or to say, when the source has no bytes left for what it was to send."""
    msg = f"{source.name}: {source.budget.bytes_per_day} bytes within a day"
    return NotNow(msg, "budget")


def bytes_left(session: Session, source: PriorSource) -> int:
    """Give how many bytes the source may still send today."""
    here = PriorRequestRow.source == source.name
    came = select(func.sum(PriorRequestRow.size_bytes)).where(
        here, PriorRequestRow.at > now(session) - DAY
    )
    return source.budget.bytes_per_day - int(session.scalar(came) or 0)


def likely_bytes(session: Session, study_id: int, instances: int) -> int:
    """Give how much so many instances take, if they are like those of the study at hand.

    No query tells the size of what it finds (PS3.4 C.6.2.1), only how many there are.
    """
    mean = select(func.avg(InstanceRow.size_bytes)).where(InstanceRow.study_id == study_id)
    return int(instances * (session.scalar(mean) or 0))


def note(session: Session, request_id: int, size_bytes: int) -> None:
    """Add what came for a request."""
    row = session.get_one(PriorRequestRow, request_id)
    row.size_bytes += size_bytes


def note_arrival(session: Session, source: str, size_bytes: int) -> None:
    """Add what came by C-MOVE, when it comes, to the latest request that it can belong to."""
    latest = (
        select(PriorRequestRow.id)
        .where(PriorRequestRow.source == source, PriorRequestRow.kind == "move")
        .order_by(PriorRequestRow.id.desc())
        .limit(1)
    )
    request = session.scalar(latest)
    if request is not None:
        note(session, request, size_bytes)


def in_window(window: str, at: datetime) -> bool:
    """Tell whether a local time is within "HH:MM-HH:MM", which may go over midnight."""
    first, _, last = window.partition("-")
    here = f"{at:%H:%M}"
    return first <= here <= last if first <= last else here >= first or here <= last
