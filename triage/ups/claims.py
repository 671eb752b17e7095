"""Our claims as rows: written before they are made, leased while somebody works on them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from pydicom.uid import generate_uid
from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import audit
from db.audit import MINOR, SUCCESS, Entry
from db.engine import Database, now
from db.tables import StudyRow
from db.ups import ClaimRow

ACTOR: Final = "performer"


class Stage(StrEnum):
    """What became of a claim."""

    CLAIMING = "claiming"
    """Written; whether the manager knows of it is in doubt."""
    HELD = "held"
    COMPLETED = "completed"
    CANCELED = "canceled"
    LOST = "lost"
    """Another performer has the item, or it is gone."""


OPEN: Final = (Stage.CLAIMING, Stage.HELD)


@dataclass(frozen=True, slots=True)
class Held:
    """One claim as it was when it was taken up."""

    id: int
    manager: str
    uid: str
    transaction_uid: str
    study_id: int
    stage: Stage
    told: str
    cancel_asked: bool
    attempts: int


def write(database: Database, manager: str, uid: str, study_id: int) -> bool:
    """Write the claim that is about to be made; False when there was one already."""
    try:
        with database.begin() as session:
            session.add(
                ClaimRow(
                    manager=manager, sop_instance_uid=uid, study_id=study_id,
                    transaction_uid=str(generate_uid(prefix=None)), state=Stage.CLAIMING,
                    due_at=now(session),
                )
            )  # fmt: skip
    except IntegrityError:
        return False
    return True


def seen(session: Session, manager: str, uids: Collection[str]) -> set[str]:
    """Give those of a manager's items that we claimed before."""
    wanted = select(ClaimRow.sop_instance_uid).where(
        ClaimRow.manager == manager, ClaimRow.sop_instance_uid.in_(uids)
    )
    return set(session.scalars(wanted))


def take(session: Session, managers: Collection[str], owner: str, lease: timedelta) -> Held | None:
    """Lease the open claim that has been due longest; None when none is."""
    at = now(session)
    row = session.scalars(
        select(ClaimRow)
        .where(ClaimRow.manager.in_(managers), ClaimRow.state.in_(OPEN), ClaimRow.due_at <= at)
        .where(or_(ClaimRow.leased_until.is_(None), ClaimRow.leased_until <= at))
        .order_by(ClaimRow.due_at, ClaimRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if row is None:
        return None
    row.leased_until, row.leased_by = at + lease, owner
    return Held(
        row.id, row.manager, row.sop_instance_uid, row.transaction_uid, row.study_id,
        Stage(row.state), row.told, row.cancel_asked, row.attempts,
    )  # fmt: skip


def later(session: Session, held: Held, wait: timedelta, *, why: str = "", told: str = "") -> None:
    """Give a claim back: for its next look, or after an exchange that came to nothing."""
    row = session.get_one(ClaimRow, held.id)
    row.leased_until = row.leased_by = None
    row.due_at = now(session) + wait
    row.attempts = row.attempts + 1 if why else 0
    row.last_error = why or None
    row.told = told or row.told


def hold(session: Session, held: Held) -> None:
    """Note that the item is ours; its first work is due at once."""
    row = session.get_one(ClaimRow, held.id)
    row.state, row.started_at = Stage.HELD, now(session)
    later(session, held, timedelta(0))
    _audit(session, row, "claimed", SUCCESS)


def settle(session: Session, held: Held, stage: Stage, why: str = "") -> None:
    """Close a claim."""
    row = session.get_one(ClaimRow, held.id)
    later(session, held, timedelta(0))
    row.state, row.settled_at, row.last_error = stage, now(session), why or None
    _audit(session, row, stage, SUCCESS if stage is Stage.COMPLETED else MINOR)


def ask_cancel(database: Database, manager: str, uid: str) -> bool:
    """Note that somebody wants an item of ours canceled; False when it is not ours."""
    with database.begin() as session:
        row = session.scalar(
            select(ClaimRow).where(
                ClaimRow.manager == manager, ClaimRow.sop_instance_uid == uid,
                ClaimRow.state.in_(OPEN),
            )
        )  # fmt: skip
        if row is None:
            return False
        row.cancel_asked, row.due_at = True, now(session)
        _audit(session, row, "cancel-asked", SUCCESS)
    return True


def _audit(session: Session, row: ClaimRow, what: str, outcome: int) -> None:
    study = session.get_one(StudyRow, row.study_id)
    detail: dict[str, Any] = {"workitem": row.sop_instance_uid, "manager": row.manager}
    entry = Entry(
        event=audit.Event.PROCEDURE_RECORD, kind=f"workitem.we-{what}", action="U",
        outcome=outcome, actor=ACTOR, object_type="study", object_id=study.study_instance_uid,
        detail=detail,
    )  # fmt: skip
    audit.record(session, entry)
