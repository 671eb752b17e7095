"""What the manager does by itself: say when it comes and goes, and forget what is long done."""

from datetime import timedelta
from typing import Final, Literal

from pydicom.dataset import Dataset
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.audit import Entry, Event, record
from db.engine import now
from db.ups import SubscriptionRow, WorkitemRow
from triage.ups import notices
from triage.ups.words import FINAL, GLOBAL
from triage.ups.words import Event as Report

ACTOR: Final = "manager"
BATCH: Final = 200
WARM: Final = "WARM START"
"""Items and subscriptions are what they were (PS3.4 Table CC.2.4-1)."""


def announce(session: Session, status: Literal["RESTARTED", "GOING DOWN"]) -> None:
    """Tell everybody who watches anything that the manager comes or goes (event type 4)."""
    told = Dataset()
    told.SCPStatus = status
    if status == "RESTARTED":
        told.SubscriptionListStatus = told.UnifiedProcedureStepListStatus = WARM
    titles = session.scalars(
        select(SubscriptionRow.ae_title).distinct().order_by(SubscriptionRow.ae_title)
    )
    notices.queue(session, list(titles), GLOBAL, Report.SCP_STATUS, told)


def forget_finished(session: Session, keep: timedelta) -> int:
    """Delete items that were finished so long ago and that no deletion lock holds; gives how many.

    Source: PS3.4 CC.2.1.3; who locked an item unsubscribes when it has what it needs.
    """
    locked = select(SubscriptionRow.sop_instance_uid).where(SubscriptionRow.deletion_lock)
    rows = session.scalars(
        select(WorkitemRow)
        .where(WorkitemRow.state.in_(FINAL), WorkitemRow.updated_at < now(session) - keep)
        .where(WorkitemRow.sop_instance_uid.not_in(locked))
        .order_by(WorkitemRow.id)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        uid = row.sop_instance_uid
        session.execute(delete(SubscriptionRow).where(SubscriptionRow.sop_instance_uid == uid))
        session.delete(row)
        record(
            session,
            Entry(
                event=Event.PROCEDURE_RECORD, kind="workitem.deleted", action="D", actor=ACTOR,
                object_type="workitem", object_id=uid,
            ),
        )  # fmt: skip
    return len(rows)
