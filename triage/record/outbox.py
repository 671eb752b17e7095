"""What becomes of a document on its way: claimed, answered, written down, and the study's move."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from db import lifecycle, outbox
from db.audit import MAJOR, MINOR, SUCCESS, Entry, Event, record
from db.commitments import DUE
from db.engine import now
from db.lifecycle import Claim
from db.outbox import DEAD, GAVE_UP, QUEUED, REFUSED, SENT
from db.states import StudyState
from db.tables import OutboxRow, StudyRow
from triage.errors import Reason
from triage.finding import Document
from triage.record.loads import has_newcomers
from triage.record.rows import document_of

LOOK_AGAIN: Final = timedelta(seconds=60)
"""Between two looks at a study whose documents are on their way: each settles it by itself."""
CORRUPT: Final = "the stored report is not what was built"


@dataclass(frozen=True, slots=True)
class Errand:
    """One document to send to one destination."""

    outbox_id: int
    fence: int
    destination: str
    document: Document
    tries: int
    """How often the destination was away since the document was queued."""
    in_doubt: bool = False
    """An earlier sending began and its answer is not known."""
    corrupt: bool = False
    """Its bytes are no longer those that were built: it must not be sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a sending: a status, a reason to try again, or a refusal."""

    status: int | None = None
    again: str = ""
    refused: str = ""
    in_doubt: bool = False
    """With ``again``: the destination may hold it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a destination is treated."""

    actor: str
    wait: timedelta
    """Before the next try."""
    max_tries: int
    commitment: bool = False


def claim_errand(
    session: Session, whose: ColumnElement[bool], *, owner: str, lease: timedelta
) -> Errand | None:
    """Lease the next document to send; it is in doubt from now until its answer is written."""
    row = outbox.claim(session, whose & outbox.TO_SEND, owner=owner, lease=lease)
    if row is None:
        return None
    corrupt = hashlib.sha256(row.content).hexdigest() != row.sha256
    errand = Errand(
        row.id, row.fence, row.destination, document_of(row), row.tries, row.in_doubt, corrupt
    )
    row.attempts += 1
    row.in_doubt = True
    session.flush()
    return errand


def save_answer(session: Session, errand: Errand, answer: Answer, terms: Terms) -> None:
    """Write what the destination said, and move the study when nothing of it is left to send.

    Raises:
        StaleStudyError: another sender has the document; nothing is written.
    """
    study, row = outbox.hold(session, errand.outbox_id, errand.fence)
    at = now(session)
    row.last_status = answer.status
    row.in_doubt = answer.in_doubt
    due_at = None
    if row.state != QUEUED:  # withdrawn while it was on its way
        row.sent_at = None if answer.again or answer.refused else at
    elif answer.again:
        row.tries += 1
        row.last_error = answer.again
        row.state = GAVE_UP if row.tries >= terms.max_tries else QUEUED
        due_at = None if row.state == GAVE_UP else at + terms.wait
    elif answer.refused:
        row.state, row.last_error = REFUSED, answer.refused
    else:
        row.state, row.last_error, row.sent_at, row.tries = SENT, None, at, 0
        row.commitment, due_at = (DUE, at) if terms.commitment else (None, None)
    outbox.rest(row, due_at=due_at)
    session.flush()
    _audit(session, study, row, terms.actor)
    settle(session, study, terms.actor)


def settle(session: Session, study: StudyRow, actor: str) -> bool:
    """Move a study whose documents have all arrived, or been refused; the caller locked it."""
    if study.state != StudyState.ANALYSED or outbox.waiting(session, study.id):
        return False
    dead = session.scalars(
        select(OutboxRow)
        .where(OutboxRow.study_id == study.id, OutboxRow.generation == study.generation)
        .where(OutboxRow.state.in_(DEAD))
        .order_by(OutboxRow.state.desc(), OutboxRow.id)
    ).first()
    if dead is None:
        _delivered(session, study, actor)
    else:
        _undelivered(session, study, dead, actor)
    return True


def watch_delivery(session: Session, claim: Claim) -> None:
    """Settle a claimed study, or come back to it later."""
    study = lifecycle.hold(session, claim)
    if not settle(session, study, claim.owner):
        lifecycle.wait(session, claim, wait=LOOK_AGAIN)


def requeue(session: Session, which: ColumnElement[bool]) -> list[OutboxRow]:
    """Have documents sent again from now on, whatever was answered before; gives their rows."""
    at = now(session)
    rows = list(session.scalars(select(OutboxRow).where(which).with_for_update()))
    for row in rows:
        # What a person resends, the destination is not asked for: it may have lost the object.
        row.state, row.tries, row.in_doubt, row.commitment = QUEUED, 0, False, None
        row.committed_at = None
        row.fence += 1
        outbox.rest(row, due_at=at)
    session.flush()
    return rows


def requeue_refused(session: Session, study_id: int) -> None:
    """Give refused documents another chance (an admin's retry)."""
    requeue(session, (OutboxRow.study_id == study_id) & OutboxRow.state.in_(DEAD))


def _delivered(session: Session, study: StudyRow, actor: str) -> None:
    """Mark the study DELIVERED; instances that came meanwhile reopen it at once."""
    at = now(session)
    sent = session.scalar(
        select(func.count())
        .select_from(OutboxRow)
        .where(OutboxRow.study_id == study.id, OutboxRow.generation == study.generation)
        .where(OutboxRow.state == SENT)
    )
    new, reason = StudyState.DELIVERED, f"{sent} sent"
    lifecycle.move(session, study, new, reason=reason, actor=actor, due_at=at)
    if has_newcomers(session, study.id):
        new, reason = StudyState.RECEIVING, "late instances"
        lifecycle.move(session, study, new, reason=reason, actor=actor, due_at=at)


def _undelivered(session: Session, study: StudyRow, dead: OutboxRow, actor: str) -> None:
    """Fail the study, visibly; its finding stays as it is."""
    code = "refused" if dead.state == REFUSED else "gave-up"
    if dead.last_error == CORRUPT:
        code = "corrupt"
    reason = Reason(code, dead.last_error or "")
    study.reason_code, study.reason_detail = reason.code, reason.sentence
    session.flush()
    entry = Entry(
        event=Event.SECURITY_ALERT,
        kind="study.failed",
        action="U",
        outcome=MAJOR,
        actor=actor,
        object_type="study",
        object_id=study.study_instance_uid,
        detail={"reason": reason.code, "state": study.state},
    )
    record(session, entry)
    lifecycle.move(
        session, study, StudyState.FAILED, reason=str(reason), actor=actor, due_at=now(session)
    )


def _audit(session: Session, study: StudyRow, row: OutboxRow, actor: str) -> None:
    entry = Entry(
        event=Event.INSTANCES_TRANSFERRED,
        kind=f"report.{row.state}",
        action="R",
        outcome=SUCCESS if row.state == SENT else MINOR,
        actor=actor,
        object_type="study",
        object_id=study.study_instance_uid,
        detail={
            "sop_instance_uid": row.sop_instance_uid,
            "destination": row.destination,
            "status": row.last_status,
            "attempts": row.attempts,
        },
    )
    record(session, entry)
