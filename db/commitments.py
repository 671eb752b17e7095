"""Storage Commitment of outbox rows: asked for, promised, denied, or never answered."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from db import outbox
from db.audit import MINOR, SERIOUS, SUCCESS, Entry, Event, record
from db.delivery import CommitmentRow
from db.engine import now
from db.lifecycle import StaleStudyError
from db.tables import OutboxRow, StudyRow

DUE: Final = "due"
ASKED: Final = "asked"
COMMITTED: Final = "committed"
DENIED: Final = "denied"
"""The destination said again and again that it does not keep the object."""
OVERDUE: Final = "overdue"
"""The destination never said."""
FAILED: Final = "failed"
"""Of one request."""
MAX_RESENDS: Final = 3
BATCH: Final = 32
"""Objects in one request."""


@dataclass(frozen=True, slots=True)
class Asking:
    """One object to ask about."""

    outbox_id: int
    fence: int
    sop_class_uid: str
    sop_instance_uid: str


def claim(
    session: Session,
    whose: ColumnElement[bool],
    transaction_uid: str,
    *,
    owner: str,
    lease: timedelta,
) -> tuple[Asking, ...]:
    """Lease up to ``BATCH`` rows to be asked for in one transaction, and write that down."""
    askings = []
    for _ in range(BATCH):
        row = outbox.claim(session, whose & outbox.TO_COMMIT, owner=owner, lease=lease)
        if row is None:
            break
        session.add(
            CommitmentRow(
                outbox_id=row.id, transaction_uid=transaction_uid, asked_at=now(session), outcome=""
            )
        )
        askings.append(Asking(row.id, row.fence, row.sop_class_uid, row.sop_instance_uid))
    session.flush()
    return tuple(askings)


def asked(
    session: Session, asking: Asking, error: str, *, again: timedelta, until: timedelta, actor: str
) -> None:
    """Note that a request was taken, or why not; ask again later, and at last tell a person.

    A report that overtook this wins.
    """
    try:
        study, row = outbox.hold(session, asking.outbox_id, asking.fence)
    except StaleStudyError:
        return
    at = now(session)
    if row.sent_at is not None and at - row.sent_at > until:
        row.commitment, row.last_error = OVERDUE, error or "no commitment report came"
        outbox.rest(row, due_at=None)
        _audit(session, study, row, actor)
        return
    row.commitment, row.last_error = (DUE if error else ASKED), error or None
    outbox.rest(row, due_at=at + again)


def take(
    session: Session, transaction_uid: str, sop_instance_uid: str, failure_reason: int | None
) -> bool:
    """Write one object's report; False when we never asked for it. Twice is once.

    A denied object is sent again, up to ``MAX_RESENDS`` times.
    """
    found = session.execute(
        select(CommitmentRow, OutboxRow.study_id)
        .join(OutboxRow, OutboxRow.id == CommitmentRow.outbox_id)
        .where(CommitmentRow.transaction_uid == transaction_uid)
        .where(OutboxRow.sop_instance_uid == sop_instance_uid)
    ).first()
    if found is None:
        return False
    asked_for, study_id = found
    study = _locked(session, study_id)
    row = session.get_one(OutboxRow, asked_for.outbox_id, populate_existing=True)
    if asked_for.outcome:
        return True
    asked_for.outcome = COMMITTED if failure_reason is None else FAILED
    asked_for.failure_reason, asked_for.reported_at = failure_reason, now(session)
    session.flush()
    if row.state == outbox.SENT and row.commitment != COMMITTED:
        _apply(session, study, row, failure_reason)
    return True


def denials(session: Session, outbox_id: int) -> int:
    """Count how often a destination said that it does not keep an object."""
    mine = (CommitmentRow.outbox_id == outbox_id, CommitmentRow.outcome == FAILED)
    return session.scalar(select(func.count()).select_from(CommitmentRow).where(*mine)) or 0


def _apply(session: Session, study: StudyRow, row: OutboxRow, failure_reason: int | None) -> None:
    row.fence += 1
    if failure_reason is None:
        row.commitment, row.committed_at, row.last_error = COMMITTED, now(session), None
        outbox.rest(row, due_at=None)
    else:
        row.last_error = f"not kept, says the destination (0x{failure_reason:04X})"
        if denials(session, row.id) > MAX_RESENDS:
            row.commitment = DENIED
            outbox.rest(row, due_at=None)
        else:
            row.state, row.commitment, row.tries = outbox.QUEUED, None, 0
            outbox.rest(row, due_at=now(session))
    session.flush()
    _audit(session, study, row, "destination")


def _locked(session: Session, study_id: int) -> StudyRow:
    return session.scalars(select(StudyRow).where(StudyRow.id == study_id).with_for_update()).one()


def _audit(session: Session, study: StudyRow, row: OutboxRow, actor: str) -> None:
    is_kept = row.commitment == COMMITTED
    is_alert = row.commitment in (DENIED, OVERDUE)
    entry = Entry(
        event=Event.SECURITY_ALERT if is_alert else Event.INSTANCES_TRANSFERRED,
        kind=f"commitment.{row.commitment or FAILED}",
        action="R",
        outcome=SUCCESS if is_kept else SERIOUS if is_alert else MINOR,
        actor=actor,
        object_type="study",
        object_id=study.study_instance_uid,
        detail={"sop_instance_uid": row.sop_instance_uid, "destination": row.destination},
    )
    record(session, entry)
