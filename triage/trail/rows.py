"""Audit rows for others to read: with the patient of the study they speak of, and their seal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, Select, and_, select
from sqlalchemy.orm import Session

from db.tables import AuditRow, AuditSealRow, StudyRow

CHUNK: Final = 1000
Row = Mapping[str, Any]
"""A column's value by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to look for; None means anything."""

    study: str | None = None
    """Study Instance UID."""
    patient: str | None = None
    """Patient ID: every row about any of the patient's studies."""
    event: str | None = None
    """DCM code, or the beginning of our own word: "study.held"."""
    user: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = 100


def asked(ask: Question) -> Select[Any]:
    """Give the query for the rows that fit, newest first."""
    wanted = _whole().order_by(AuditRow.id.desc())
    if ask.study:
        wanted = wanted.where(AuditRow.object_id == ask.study)
    if ask.patient:
        theirs = select(StudyRow.study_instance_uid).where(StudyRow.patient_id == ask.patient)
        wanted = wanted.where(AuditRow.object_id.in_(theirs))
    if ask.event:
        word = AuditRow.event_type.startswith(ask.event, autoescape=True)
        wanted = wanted.where((AuditRow.event_id == ask.event) | word)
    if ask.user:
        wanted = wanted.where(AuditRow.actor == ask.user)
    if ask.since:
        wanted = wanted.where(AuditRow.at >= ask.since)
    if ask.until:
        wanted = wanted.where(AuditRow.at < ask.until)
    return wanted.limit(ask.limit)


def answered(session: Session, ask: Question) -> Iterator[Row]:
    """Give the rows that fit, newest first, a chunk at a time."""
    query = asked(ask).execution_options(yield_per=CHUNK)
    with session.execute(query) as result:
        yield from map(_plain, result.mappings())


def sealed_after(session: Session, seq: int, limit: int) -> list[Row]:
    """Give the rows sealed after number ``seq``, in the order of their seals: none comes before."""
    query = _whole().where(AuditSealRow.seq > seq).order_by(AuditSealRow.seq).limit(limit)
    return list(map(_plain, session.execute(query).mappings()))


def _plain(row: RowMapping) -> Row:
    return {str(name): value for name, value in row.items()}


def _whole() -> Select[Any]:
    of_study = and_(
        AuditRow.object_type == "study", StudyRow.study_instance_uid == AuditRow.object_id
    )
    return (
        select(
            *AuditRow.__table__.columns, AuditSealRow.seq, AuditSealRow.row_hash,
            StudyRow.patient_id,
        )
        .outerjoin(AuditSealRow, AuditSealRow.audit_id == AuditRow.id)
        .outerjoin(StudyRow, of_study)
    )  # fmt: skip
