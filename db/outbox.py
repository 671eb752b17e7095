"""Outbox rows as work: leased one by one, so that no destination waits for another.

A row's ``due_at`` is set while something is left to do about it. A claim is a lease plus a fence
number, as a study's is: an answer that comes after the lease was lost changes nothing.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, CursorResult, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from db.engine import now
from db.lifecycle import StaleStudyError
from db.states import StudyState
from db.tables import OutboxRow, StudyRow

QUEUED: Final = "queued"
SENT: Final = "sent"
REFUSED: Final = "refused"
GAVE_UP: Final = "gave-up"
WITHDRAWN: Final = "withdrawn"
DEAD: Final = (REFUSED, GAVE_UP)
"""States in which only a person gets a document any further."""

TO_SEND: Final = OutboxRow.state == QUEUED
TO_COMMIT: Final = OutboxRow.state == SENT


def _is_withheld() -> ColumnElement[bool]:
    """Mean what waited to be sent when its study was held; what is written later takes it back."""
    held = aliased(StudyRow)
    return (OutboxRow.state == QUEUED) & exists().where(
        held.id == OutboxRow.study_id,
        held.state == StudyState.HELD,
        held.settled_at >= OutboxRow.built_at,
    )


MAY_LEAVE: Final = ~_is_withheld()
"""Made once: every lane asks several times a second."""


def to(destination: str) -> ColumnElement[bool]:
    """Mean the rows of one destination."""
    return OutboxRow.destination == destination


def to_none_of(destinations: Collection[str]) -> ColumnElement[bool]:
    """Mean the rows of destinations that nobody serves."""
    return OutboxRow.destination.not_in(destinations)


def is_due(session: Session, whose: ColumnElement[bool]) -> bool:
    """Tell whether any of these rows can be claimed; cheaper than trying."""
    return (
        session.scalar(select(OutboxRow.id).where(*_free(whose, now(session))).limit(1)) is not None
    )


def is_waiting(session: Session, whose: ColumnElement[bool]) -> bool:
    """Tell whether any of these rows is still to be sent, now or later."""
    return session.scalar(select(OutboxRow.id).where(whose, TO_SEND).limit(1)) is not None


def claim(
    session: Session, whose: ColumnElement[bool], *, owner: str, lease: timedelta
) -> OutboxRow | None:
    """Lease the most urgent due row among these; None when there is none.

    What is still to be sent ("queued") comes before what is only to be asked about ("sent").
    """
    at = now(session)
    row = session.scalar(
        select(OutboxRow)
        .join(StudyRow, StudyRow.id == OutboxRow.study_id)
        .where(*_free(whose, at))
        .order_by(OutboxRow.state, StudyRow.priority.desc(), OutboxRow.due_at, OutboxRow.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=OutboxRow)
        .execution_options(populate_existing=True)
    )
    if row is None:
        return None
    row.leased_until, row.leased_by = at + lease, owner
    row.fence += 1
    session.flush()
    return row


def hold(session: Session, outbox_id: int, fence: int) -> tuple[StudyRow, OutboxRow]:
    """Lock a claimed row and its study before its answer is written, the study first.

    Raises:
        StaleStudyError: the row is no longer this claim's.
    """
    study = session.scalars(
        select(StudyRow)
        .join(OutboxRow, OutboxRow.study_id == StudyRow.id)
        .where(OutboxRow.id == outbox_id)
        .with_for_update(of=StudyRow)
        .execution_options(populate_existing=True)
    ).one()
    row = session.scalar(
        select(OutboxRow)
        .where(OutboxRow.id == outbox_id, OutboxRow.fence == fence)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None:
        raise StaleStudyError(study.id)
    return study, row


def rest(row: OutboxRow, *, due_at: datetime | None) -> None:
    """End a row's lease; it is looked at again at ``due_at``, or never."""
    row.due_at, row.leased_until, row.leased_by = due_at, None, None


def waiting(session: Session, study_id: int) -> int:
    """Count a study's documents that are still to be sent."""
    of_study = (OutboxRow.study_id == study_id, OutboxRow.state == QUEUED)
    return session.scalar(select(func.count()).select_from(OutboxRow).where(*of_study)) or 0


def lease_owners(session: Session) -> list[str]:
    """Give everyone who holds a lease on a row."""
    owners = select(OutboxRow.leased_by).where(OutboxRow.leased_by.is_not(None)).distinct()
    return [owner for owner in session.scalars(owners) if owner is not None]


def abandon(session: Session, owners: Collection[str]) -> int:
    """End the leases of senders known to be dead; gives how many rows became free."""
    freed = session.execute(
        update(OutboxRow)
        .where(OutboxRow.leased_by.in_(owners))
        .values(leased_until=None, leased_by=None)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(freed, CursorResult)  # noqa: S101 - an UPDATE always gives one
    return freed.rowcount


def _free(whose: ColumnElement[bool], at: datetime) -> tuple[ColumnElement[bool], ...]:
    unleased = or_(OutboxRow.leased_until.is_(None), OutboxRow.leased_until <= at)
    return whose, OutboxRow.due_at <= at, unleased, MAY_LEAVE
