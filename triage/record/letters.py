"""Dead letters: documents with which only a person gets further, and sending them again."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session, defer

from db import lifecycle, outbox
from db.audit import Entry, Event, record
from db.commitments import DENIED, OVERDUE
from db.engine import now
from db.states import StudyState
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
    """Have documents sent again, audited; gives their numbers.

    Those that were withdrawn, or deleted here, are not among them.

    Raises:
        NothingToResend: there is none.
    """
    which = OutboxRow.id.in_(numbers) & (OutboxRow.state != outbox.WITHDRAWN)
    which = which & OutboxRow.purged_at.is_(None)
    if destination is not None:
        which = which & outbox.to(destination)
    studies = _locked(session, which)
    rows = requeue(session, which)
    if not rows:
        msg = "nothing to resend; `triage study show STUDY` lists a study's documents"
        raise NothingToResend(msg)
    for study in studies.values():
        _reopen(session, study, who)
    for row in rows:
        entry = Entry(
            event=Event.PROCEDURE_RECORD, kind="report.resend", action="U", actor=who.name,
            actor_role=who.role, network_address=who.address, object_type="study",
            object_id=studies[row.study_id].study_instance_uid,
            detail={"sop_instance_uid": row.sop_instance_uid, "destination": row.destination},
        )  # fmt: skip
        record(session, entry)
    return [row.id for row in rows]


def _locked(session: Session, which: ColumnElement[bool]) -> dict[int, StudyRow]:
    """Lock the studies of some documents, always in the same order."""
    mine = select(OutboxRow.study_id).where(which)
    rows = session.scalars(
        select(StudyRow).where(StudyRow.id.in_(mine)).order_by(StudyRow.id).with_for_update()
    )
    return {row.id: row for row in rows}


def _reopen(session: Session, study: StudyRow, who: Who) -> None:
    """Let a study whose delivery failed be delivered after all."""
    came_from = lifecycle.failed_from(session, study.id)
    if study.state != StudyState.FAILED or came_from != StudyState.ANALYSED:
        return
    study.reason_code = study.reason_detail = None
    session.flush()
    new, at = StudyState.ANALYSED, now(session)
    lifecycle.move(session, study, new, reason="resend", actor=who.name, due_at=at)
