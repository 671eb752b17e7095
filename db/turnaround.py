"""From a study's last image to its decision, to its notice, and to the first reader: as it was.

A late image reopens a study and makes another generation of it. Each step is the first at or after
the last image: what came before it is of the older content.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Subquery, func, select
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
    """From then on the worklist shows its place."""
    notified_at: datetime | None
    """First document of that decision, or of a later one, that a destination took."""
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
        first = _first_decisions(chunk)
        found |= dict(session.execute(select(first.c.study_id, first.c.at)).all())
    return found


def _notified(session: Session, numbers: Collection[int]) -> Mapping[int, datetime]:
    found: dict[int, datetime] = {}
    for chunk in _chunks(numbers):
        decision = _first_decisions(chunk)
        first = (
            select(OutboxRow.study_id, func.min(OutboxRow.sent_at))
            .join(decision, decision.c.study_id == OutboxRow.study_id)
            .where(OutboxRow.generation >= decision.c.generation, OutboxRow.sent_at.is_not(None))
            .group_by(OutboxRow.study_id)
        )
        found |= {number: at for number, at in session.execute(first) if at is not None}
    return found


def _first_decisions(numbers: Collection[int]) -> Subquery:
    """Give, by study, the first decision about all that it holds: its generation and moment."""
    return (
        select(
            DecisionRow.study_id,
            func.min(DecisionRow.generation).label("generation"),
            func.min(DecisionRow.at).label("at"),
        )
        .join(StudyRow, StudyRow.id == DecisionRow.study_id)
        .where(DecisionRow.study_id.in_(numbers), DecisionRow.at >= StudyRow.last_instance_at)
        .group_by(DecisionRow.study_id)
        .subquery()
    )


def _opened(session: Session, since: datetime) -> Mapping[str, datetime]:
    """Give, by Study Instance UID, when a reader first had all of a study before them."""
    first = (
        select(AuditRow.object_id, func.min(AuditRow.at))
        .join(StudyRow, StudyRow.study_instance_uid == AuditRow.object_id)
        .where(AuditRow.at >= StudyRow.last_instance_at)
        .where(AuditRow.at >= since, AuditRow.event_id == Event.INSTANCES_ACCESSED)
        .where(AuditRow.object_type == "study", AuditRow.outcome == 0)
        .where(AuditRow.actor_role.contains(READER))
        .group_by(AuditRow.object_id)
    )
    return dict(session.execute(first).all())


def _chunks(numbers: Collection[int]) -> list[list[int]]:
    every = list(numbers)
    return [every[start : start + CHUNK] for start in range(0, len(every), CHUNK)]
