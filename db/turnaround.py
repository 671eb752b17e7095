"""From a study's last image to its decision, to its notice, and to the first reader: as it was."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.audit import Event
from db.tables import AuditRow, DecisionRow, OutboxRow, StudyRow

MOST: Final = 20_000
"""Of the latest studies that one question looks at."""
CHUNK: Final = 500
"""Names in one question: databases limit them."""
READER: Final = "radiologist"


@dataclass(frozen=True, slots=True)
class Passage:
    """The moments of one study; None where one has not come."""

    study_id: int
    priority: int
    outcome: str
    received_at: datetime
    last_instance_at: datetime
    decided_at: datetime | None
    """First: from then on the worklist shows its place."""
    notified_at: datetime | None
    """First document that a destination took."""
    opened_at: datetime | None
    """First access by a reader."""


def passages(session: Session, since: datetime, *, limit: int = MOST) -> tuple[Passage, ...]:
    """Give the studies whose first image came at or after a moment, the latest first."""
    rows = session.execute(
        select(
            StudyRow.id, StudyRow.study_instance_uid, StudyRow.priority, StudyRow.outcome,
            StudyRow.received_at, StudyRow.last_instance_at,
        )
        .where(StudyRow.received_at >= since)
        .order_by(StudyRow.received_at.desc(), StudyRow.id.desc())
        .limit(limit)
    ).all()  # fmt: skip
    numbers = [row.id for row in rows]
    decided, notified = _decided(session, numbers), _notified(session, numbers)
    opened = _opened(session, min((row.received_at for row in rows), default=since))
    return tuple(
        Passage(
            row.id, row.priority, row.outcome, row.received_at, row.last_instance_at,
            decided.get(row.id), notified.get(row.id), opened.get(row.study_instance_uid),
        )
        for row in rows
    )  # fmt: skip


def _decided(session: Session, numbers: Collection[int]) -> Mapping[int, datetime]:
    found: dict[int, datetime] = {}
    for chunk in _chunks(numbers):
        first = (
            select(DecisionRow.study_id, func.min(DecisionRow.at))
            .where(DecisionRow.study_id.in_(chunk))
            .group_by(DecisionRow.study_id)
        )
        found |= dict(session.execute(first).all())
    return found


def _notified(session: Session, numbers: Collection[int]) -> Mapping[int, datetime]:
    found: dict[int, datetime] = {}
    for chunk in _chunks(numbers):
        first = (
            select(OutboxRow.study_id, func.min(OutboxRow.sent_at))
            .where(OutboxRow.study_id.in_(chunk), OutboxRow.sent_at.is_not(None))
            .group_by(OutboxRow.study_id)
        )
        found |= {number: at for number, at in session.execute(first) if at is not None}
    return found


def _opened(session: Session, since: datetime) -> Mapping[str, datetime]:
    """Give, by Study Instance UID, when a reader first had a study before them."""
    first = (
        select(AuditRow.object_id, func.min(AuditRow.at))
        .where(AuditRow.at >= since, AuditRow.event_id == Event.INSTANCES_ACCESSED)
        .where(AuditRow.object_type == "study", AuditRow.outcome == 0)
        .where(AuditRow.actor_role.contains(READER))
        .group_by(AuditRow.object_id)
    )
    return dict(session.execute(first).all())


def _chunks(numbers: Collection[int]) -> list[list[int]]:
    every = list(numbers)
    return [every[start : start + CHUNK] for start in range(0, len(every), CHUNK)]
