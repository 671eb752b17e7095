"""Audit rows for others to read: with the patient of the study they speak of, and their seal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import eq, ge, lt
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Select, and_, or_, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

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


def answered(session: Session, ask: Question) -> Iterator[Row]:
    """Give the rows that fit, newest first, a chunk at a time."""
    query = asked(ask, _studies(session, ask.patient))
    if ask.limit is None or ask.limit > CHUNK:
        query = query.execution_options(yield_per=CHUNK)
        if session.get_bind().dialect.name == "postgresql":
            # Of a cursor it believes that little is read, and walks the whole trail for that.
            session.execute(text("SET LOCAL cursor_tuple_fraction = 1"))
    with session.execute(query) as result:
        yield from map(_plain, result.mappings())


def asked(ask: Question, studies: Sequence[str] | None) -> Select[Any]:
    """Give the query for the rows that fit, newest first; about ``studies`` unless None.

    The rows are chosen alone and only then joined: a trail of many months takes PostgreSQL ten
    times as long to plan in a join.
    """
    # An order that no index has: the rows of a study are found by it and sorted, never looked for
    # from the trail's end on.
    newest = AuditRow.id + 0 if ask.study or studies is not None else AuditRow.id
    chosen = (
        select(AuditRow.__table__)
        .where(*_conditions(ask, studies))
        .order_by(newest.desc())
        .limit(ask.limit)
    )
    rows = aliased(AuditRow, chosen.subquery("chosen"))
    return _whole(rows).order_by(rows.id.desc())


def _studies(session: Session, patient: str | None) -> Sequence[str] | None:
    if patient is None:
        return None
    theirs = select(StudyRow.study_instance_uid).where(StudyRow.patient_id == patient)
    return session.scalars(theirs).all()


def _conditions(ask: Question, studies: Sequence[str] | None) -> Iterator[ColumnElement[bool]]:
    if studies is not None:
        yield AuditRow.object_id.in_(studies)
    if ask.event:
        is_code = ask.event.isdecimal()
        yield AuditRow.event_id == ask.event if is_code else _begins(ask.event)
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


def sealed_after(session: Session, seq: int, limit: int) -> list[Row]:
    """Give the rows sealed after number ``seq``, in the order of their seals: none comes before."""
    query = _whole(AuditRow).where(AuditSealRow.seq > seq).order_by(AuditSealRow.seq).limit(limit)
    return list(map(_plain, session.execute(query).mappings()))


def _plain(row: RowMapping) -> Row:
    return {str(name): value for name, value in row.items()}


def _whole(rows: type[AuditRow]) -> Select[Any]:
    of_study = and_(rows.object_type == "study", StudyRow.study_instance_uid == rows.object_id)
    columns = (getattr(rows, column.key) for column in AuditRow.__table__.columns)
    return (
        select(
            *columns, AuditSealRow.seq, AuditSealRow.row_hash, StudyRow.patient_id,
            StudyRow.id.label("study_number"),
        )
        .outerjoin(AuditSealRow, AuditSealRow.audit_id == rows.id)
        .outerjoin(StudyRow, of_study)
    )  # fmt: skip
