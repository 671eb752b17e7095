"""Claims as rows: who takes a study, renews it, gives it back, or takes it from somebody. Audited.

A claim is a soft lock: it tells readers apart and hides a study from nobody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import update
from sqlalchemy.orm import Session

from db.audit import Entry, Event, record
from db.engine import now
from db.reader_claims import ReaderClaimRow, open_one
from db.tables import StudyRow
from triage.worklist.sessions import Viewer

REASONS: Final = {
    "owner-away": "the reader is away",
    "agreed": "agreed with the reader",
    "urgent": "it cannot wait",
    "mistake": "it was claimed by mistake",
}
"""Why a study is taken from its reader."""


class HeldByAnother(Exception):
    """Somebody else reads the study; it is taken over only with a reason."""


class NoSuchReason(Exception):
    """The reason is none of ``REASONS``."""


@dataclass(frozen=True, slots=True)
class Held:
    """A claim as a page shows it."""

    owner: str
    mine: bool
    since: datetime
    until: datetime


def shown(row: ReaderClaimRow | None, who: Viewer) -> Held | None:
    """Give a claim as this reader sees it."""
    if row is None:
        return None
    return Held(row.owner, row.user_id == who.user_id, row.claimed_at, row.expires_at)


def take(
    session: Session, study: StudyRow, who: Viewer, *, holds: timedelta, reason: str = ""
) -> ReaderClaimRow:
    """Claim a study, or renew one's own claim, or with a reason take another reader's.

    Raises:
        HeldByAnother: it is another reader's and no reason was given.
        NoSuchReason: the reason is none of ours.
    """
    if reason and reason not in REASONS:
        raise NoSuchReason(reason)
    at, former = now(session), open_one(session, study.id)
    if former is not None and former.expires_at <= at:
        _end(former, "expired", former.expires_at, at)
        former = None
    if former is not None and former.user_id == who.user_id:
        former.expires_at, former.changed_at = at + holds, at
        _audit(session, study, who, "claim.renewed", {"claim": former.id})
        return former
    if former is not None:
        if not reason:
            raise HeldByAnother
        _end(former, "taken", at, at)
    session.flush()  # the open claim is gone before the next one comes
    row = ReaderClaimRow(
        study_id=study.id, user_id=who.user_id, owner=who.name, claimed_at=at,
        expires_at=at + holds, changed_at=at,
    )  # fmt: skip
    session.add(row)
    session.flush()
    kind = "claim.taken-over" if former else "claim.made"
    detail = {"claim": row.id} | ({"from": former.owner, "reason": reason} if former else {})
    _audit(session, study, who, kind, detail)
    return row


def release(session: Session, study: StudyRow, who: Viewer) -> bool:
    """Give one's own claim back; False where there is none to give."""
    at, row = now(session), open_one(session, study.id)
    if row is None or row.user_id != who.user_id:
        return False
    _end(row, "released", at, at)
    _audit(session, study, who, "claim.released", {"claim": row.id})
    return True


def note_opened(session: Session, study: StudyRow) -> None:
    """Note that a reader has opened what the study holds now: it is not unread any more."""
    if study.opened_at is not None:
        return
    session.execute(
        update(StudyRow)
        .where(StudyRow.id == study.id, StudyRow.opened_at.is_(None))
        .values(opened_at=now(session))
        .execution_options(synchronize_session=False)
    )


def _end(row: ReaderClaimRow, how: str, ended: datetime, at: datetime) -> None:
    row.ended_at, row.ended_by, row.changed_at = ended, how, at


def _audit(
    session: Session, study: StudyRow, who: Viewer, kind: str, detail: Mapping[str, object]
) -> None:
    entry = Entry(
        event=Event.PROCEDURE_RECORD, kind=kind, action="U", actor=who.name,
        actor_role=who.role, network_address=who.address, object_type="study",
        object_id=study.study_instance_uid, detail=detail,
    )  # fmt: skip
    record(session, entry)
