"""What destinations would not take or keep, sending again by hand, and taking a report back."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session, defer

from db import outbox
from db.audit import Entry, Event, record
from db.commitments import DENIED, OVERDUE
from db.engine import Database
from db.tables import OutboxRow, StudyRow
from triage.commands.study import find
from triage.deliver.meanings import fix, label, meaning
from triage.errors import TriageError
from triage.record import withdrawals
from triage.record.outbox import requeue
from triage.record.withdrawals import REASONS, Who

MOST: int = 500


def dead_letters(session: Session, *, limit: int = MOST) -> list[OutboxRow]:
    """Give the documents with which only a person gets further, newest first, without bytes."""
    return list(
        session.scalars(
            select(OutboxRow)
            .where(_is_dead())
            .order_by(OutboxRow.id.desc())
            .limit(limit)
            .options(defer(OutboxRow.content, raiseload=True))
        )
    )


def explain(row: OutboxRow) -> dict[str, Any]:
    """Give one dead letter in words."""
    status = row.last_status
    stored = row.state == outbox.SENT
    return {
        "number": row.id,
        "study": row.study_id,
        "destination": row.destination,
        "document": row.kind,
        "state": f"sent, commitment {row.commitment}" if stored else row.state,
        "status": "" if status is None else label(status),
        "meaning": (row.last_error or "") if stored or status is None else meaning(status),
        "error": row.last_error or "",
        "attempts": row.attempts,
        "what to do": fix(None if stored else status),
    }


def list_dead(database: Database) -> list[dict[str, Any]]:
    """Give all dead letters in words."""
    with database.reading() as session:
        return [explain(row) for row in dead_letters(session)]


def resend(
    session: Session, numbers: Sequence[int], who: Who, *, destination: str | None = None
) -> list[int]:
    """Have documents sent again, audited; gives their numbers. Withdrawn ones stay withdrawn.

    Raises:
        TriageError: there is nothing to resend.
    """
    which = OutboxRow.id.in_(numbers) & (OutboxRow.state != outbox.WITHDRAWN)
    if destination is not None:
        which = which & outbox.to(destination)
    rows = requeue(session, which)
    if not rows:
        msg = "nothing to resend; `triage study show STUDY` lists a study's documents"
        raise TriageError(msg)
    uids = _uids(session, rows)
    for row in rows:
        entry = Entry(
            event=Event.PROCEDURE_RECORD, kind="report.resend", action="U", actor=who.name,
            actor_role=who.role, network_address=who.address, object_type="study",
            object_id=uids[row.study_id],
            detail={"sop_instance_uid": row.sop_instance_uid, "destination": row.destination},
        )  # fmt: skip
        record(session, entry)
    return [row.id for row in rows]


def resend_studies(
    database: Database, keys: Sequence[str], actor: str, *, destination: str | None
) -> list[int]:
    """Resend the documents of these studies; without any key, every dead letter.

    Raises:
        NoSuchStudy: a key names no study.
        TriageError: there is nothing to resend.
    """
    with database.begin() as session:
        which = (
            OutboxRow.study_id.in_([find(session, key).id for key in keys]) if keys else _is_dead()
        )
        numbers = session.scalars(select(OutboxRow.id).where(which)).all()
        return resend(session, numbers, Who(actor), destination=destination)


def withdraw(database: Database, key: str, reason: str, actor: str) -> int:
    """Take back a study's latest report, audited; gives how many documents.

    Raises:
        NoSuchStudy: there is no such study.
        TriageError: the reason is none, or there is no report.
    """
    if reason not in REASONS:
        msg = f"no reason {reason}; there are: {', '.join(REASONS)}"
        raise TriageError(msg)
    with database.begin() as session:
        return withdrawals.withdraw(session, find(session, key).id, reason, Who(actor))


def _is_dead() -> ColumnElement[bool]:
    return or_(OutboxRow.state.in_(outbox.DEAD), OutboxRow.commitment.in_((DENIED, OVERDUE)))


def _uids(session: Session, rows: Sequence[OutboxRow]) -> dict[int, str]:
    found = session.execute(
        select(StudyRow.id, StudyRow.study_instance_uid).where(
            StudyRow.id.in_({row.study_id for row in rows})
        )
    )
    return {row.id: row.study_instance_uid for row in found}
