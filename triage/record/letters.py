"""Dead letters: documents with which only a person gets further, and sending them again."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session, defer

from db import outbox
from db.audit import Entry, Event, record
from db.commitments import DENIED, OVERDUE
from db.tables import OutboxRow, StudyRow
from triage.errors import TriageError
from triage.record.outbox import requeue
from triage.record.withdrawals import Who

MOST: Final = 500


class NothingToResend(TriageError):
    """No document fits, or what fits was withdrawn."""


def is_dead() -> ColumnElement[bool]:
    """Mean the documents that were refused, given up, or that a PACS does not promise to keep."""
    return or_(OutboxRow.state.in_(outbox.DEAD), OutboxRow.commitment.in_((DENIED, OVERDUE)))


def dead_letters(session: Session, *, limit: int = MOST) -> list[OutboxRow]:
    """Give the latest dead letters, without their bytes."""
    return list(
        session.scalars(
            select(OutboxRow)
            .where(is_dead())
            .order_by(OutboxRow.id.desc())
            .limit(limit)
            .options(defer(OutboxRow.content, raiseload=True))
        )
    )


def resend(
    session: Session, numbers: Sequence[int], who: Who, *, destination: str | None = None
) -> list[int]:
    """Have documents sent again, audited; gives their numbers. Withdrawn ones stay withdrawn.

    Raises:
        NothingToResend: there is none.
    """
    which = OutboxRow.id.in_(numbers) & (OutboxRow.state != outbox.WITHDRAWN)
    if destination is not None:
        which = which & outbox.to(destination)
    rows = requeue(session, which)
    if not rows:
        msg = "nothing to resend; `triage study show STUDY` lists a study's documents"
        raise NothingToResend(msg)
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


def _uids(session: Session, rows: Sequence[OutboxRow]) -> dict[int, str]:
    found = session.execute(
        select(StudyRow.id, StudyRow.study_instance_uid).where(
            StudyRow.id.in_({row.study_id for row in rows})
        )
    )
    return {row.id: row.study_instance_uid for row in found}
