"""Another try for a failed study, where it failed: asked for by a person, audited."""

from typing import Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from db import lifecycle
from db.audit import Entry, Event, record
from db.engine import now
from db.states import StudyState
from db.tables import StudyRow
from triage.errors import TriageError
from triage.finding import Outcome
from triage.record.outbox import requeue_refused
from triage.record.withdrawals import Who

MOST: Final = 1000
"""Studies in one transaction."""


class NotFailed(TriageError):
    """The study is not among the failed ones."""


def failed(session: Session, which: ColumnElement[bool], *, limit: int = MOST) -> list[StudyRow]:
    """Give failed studies, locked, the oldest first."""
    wanted = select(StudyRow).where(StudyRow.state == StudyState.FAILED, which)
    return list(session.scalars(wanted.order_by(StudyRow.id).limit(limit).with_for_update()))


def retry(session: Session, row: StudyRow, who: Who) -> None:
    """Give a failed study, whose row is locked, another try.

    Raises:
        NotFailed: it has not failed, or no longer.
    """
    if row.state != StudyState.FAILED:
        msg = f"study {row.id} is {row.state}, not failed; `triage study show {row.id}` tells more"
        raise NotFailed(msg)
    back_to = lifecycle.failed_from(session, row.id)
    if back_to == StudyState.ANALYSED:
        requeue_refused(session, row.id)
    else:
        row.outcome, row.sentence = Outcome.PENDING, ""
    row.reason_code = row.reason_detail = None
    lifecycle.move(session, row, back_to, reason="retry", actor=who.name, due_at=now(session))
    entry = Entry(
        event=Event.PROCEDURE_RECORD, kind="study.retry", action="U", actor=who.name,
        actor_role=who.role, network_address=who.address, object_type="study",
        object_id=row.study_instance_uid, detail={"to": back_to},
    )  # fmt: skip
    record(session, entry)
