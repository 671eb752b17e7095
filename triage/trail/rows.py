"""Audit rows for others to read: with the patient of the study they speak of, and their seal."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import eq, ge, lt
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Select, and_, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

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
    kinds: tuple[str, ...] = ()
    """Beginnings of our own words, one of which must fit."""
    before: int | None = None
    """Only rows with a smaller number: the page behind one."""
    user: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = 100


def asked(ask: Question) -> Select[Any]:
    """Give the query for the rows that fit, newest first."""
    return _whole().where(*_conditions(ask)).order_by(AuditRow.id.desc()).limit(ask.limit)


def _conditions(ask: Question) -> Iterator[ColumnElement[bool]]:
    if ask.patient:
        theirs = select(StudyRow.study_instance_uid).where(StudyRow.patient_id == ask.patient)
        yield AuditRow.object_id.in_(theirs)
    if ask.event:
        yield (AuditRow.event_id == ask.event) | _begins(ask.event)
    if ask.kinds:
        yield or_(*map(_begins, ask.kinds))
    limits: Mapping[str, tuple[Callable[[Any, Any], Any], InstrumentedAttribute[Any]]] = {
        "study": (eq, AuditRow.object_id), "user": (eq, AuditRow.actor),
        "before": (lt, AuditRow.id), "since": (ge, AuditRow.at), "until": (lt, AuditRow.at),
    }  # fmt: skip
    for name, (compare, column) in limits.items():
        if (value := getattr(ask, name)) is not None:
            yield compare(column, value)


def _begins(word: str) -> ColumnElement[bool]:
    return AuditRow.event_type.startswith(word, autoescape=True)


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
            StudyRow.patient_id, StudyRow.id.label("study_number"),
        )
        .outerjoin(AuditSealRow, AuditSealRow.audit_id == AuditRow.id)
        .outerjoin(StudyRow, of_study)
    )  # fmt: skip
