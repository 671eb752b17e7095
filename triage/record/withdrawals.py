"""Reports taken back: marked at once, sent no further, and followed by rejection notes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from db import lifecycle, outbox
from db.audit import SERIOUS, SUCCESS, Entry, Event, record
from db.delivery import WithdrawalRow
from db.engine import now
from db.outbox import SENT, WITHDRAWN
from db.states import StudyState
from db.tables import OutboxRow, StudyRow
from triage.errors import TriageError
from triage.finding import Document
from triage.record.outbox import settle
from triage.record.rows import ABOUT_REPORTS, RETRACTABLE, document_of, outbox_row

SUPERSEDED: Final = "superseded"
NOBODY_HAD_IT: Final = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a report is taken back."""

    words: str
    title: str
    """Key of the rejection note's TITLES (CID 7010)."""


REASONS: Final[Mapping[str, Reason]] = {
    "wrong-patient": Reason("The report is about another patient", "patient-safety"),
    "wrong-result": Reason("The result is wrong and must not be used", "patient-safety"),
    "wrong-order": Reason("The study was made under a wrong worklist entry", "wrong-order"),
    "poor-images": Reason("The images were not fit to be analysed", "quality"),
    SUPERSEDED: Reason("A newer report takes its place", "quality"),
}


@dataclass(frozen=True, slots=True)
class Who:
    """Who takes a report back, and from where."""

    name: str
    role: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """A withdrawal whose notes are still to be written."""

    study_id: int
    reason: str
    withdrawn: frozenset[str]
    """SOP Instance UIDs."""
    held: Mapping[str, tuple[Document, ...]]
    """By destination, the objects that it has or may have."""


class NothingToWithdraw(TriageError):
    """The study has no report that is not withdrawn already."""


def withdraw(
    session: Session, study_id: int, reason: str, who: Who, *, generation: int | None = None
) -> int:
    """Take back the documents of one generation, the latest by default; gives how many.

    From now on none of them is sent; the notes are written by whoever sends.

    Raises:
        NothingToWithdraw: there is none.
    """
    study = session.scalar(select(StudyRow).where(StudyRow.id == study_id).with_for_update())
    if study is None:
        msg = f"there is no study {study_id}"
        raise NothingToWithdraw(msg)
    number = study.generation if generation is None else generation
    rows = session.scalars(
        select(OutboxRow)
        .where(OutboxRow.study_id == study_id, OutboxRow.generation == number)
        .where(OutboxRow.kind.not_in(ABOUT_REPORTS), OutboxRow.state != WITHDRAWN)
        .with_for_update()
    ).all()
    if not rows:
        msg = f"study {study_id} has no report to withdraw"
        raise NothingToWithdraw(msg)
    if any(row.purged_at for row in rows):
        msg = f"the documents of study {study_id} were deleted here: reject them in the archive"
        raise NothingToWithdraw(msg)
    at = now(session)
    for row in rows:
        row.state = WITHDRAWN
        outbox.rest(row, due_at=None)
    uids = sorted({row.sop_instance_uid for row in rows})
    session.add_all(
        WithdrawalRow(study_id=study_id, sop_instance_uid=uid, reason=reason, actor=who.name, at=at)
        for uid in uids
    )
    session.flush()
    detail = {"reason": reason, "generation": number, "sop_instance_uids": uids}
    entry = Entry(
        event=Event.PROCEDURE_RECORD, kind="report.withdrawn", action="D", actor=who.name,
        actor_role=who.role, network_address=who.address, object_type="study",
        object_id=study.study_instance_uid, detail=detail,
    )  # fmt: skip
    record(session, entry)
    settle(session, study, who.name)
    return len(uids)


def supersede(session: Session, study_id: int, actor: str) -> int:
    """Take back what older generations reported, once the latest one has arrived everywhere."""
    study = session.get_one(StudyRow, study_id, populate_existing=True)
    if study.state != StudyState.DELIVERED or not _was_sent(session, study):
        return 0
    older = session.scalars(
        select(OutboxRow.generation)
        .where(OutboxRow.study_id == study_id, OutboxRow.generation < study.generation)
        .where(OutboxRow.kind.not_in(ABOUT_REPORTS), OutboxRow.state == SENT)
        .where(OutboxRow.purged_at.is_(None))
        .distinct()
    ).all()
    return sum(withdraw(session, study_id, SUPERSEDED, Who(actor), generation=one) for one in older)


def next_pending(session: Session) -> Pending | None:
    """Give a withdrawal that waits for its notes, with what each destination has of it."""
    first = session.scalars(
        select(WithdrawalRow)
        .where(WithdrawalRow.note_sop_instance_uid.is_(None))
        .order_by(WithdrawalRow.id)
        .limit(1)
    ).first()
    if first is None:
        return None
    uids = session.scalars(_same(first.study_id, first.reason)).all()
    rows = session.scalars(
        select(OutboxRow)
        .where(OutboxRow.study_id == first.study_id, OutboxRow.sop_instance_uid.in_(uids))
        .where(_can_be_taken_back(first.reason))
        .where(OutboxRow.sent_at.is_not(None) | OutboxRow.in_doubt)
        .order_by(OutboxRow.id)
    )
    held: dict[str, tuple[Document, ...]] = {}
    for row in rows:
        held[row.destination] = (*held.get(row.destination, ()), document_of(row))
    return Pending(first.study_id, first.reason, frozenset(uids), held)


def save_notes(
    session: Session, pending: Pending, notes: Mapping[str, Document], actor: str
) -> None:
    """Queue the notes, by destination; without any, nobody has what was withdrawn.

    Raises:
        StaleStudyError: someone else wrote them.
    """
    study = session.scalars(
        select(StudyRow).where(StudyRow.id == pending.study_id).with_for_update()
    ).one()
    rows = session.scalars(
        select(WithdrawalRow)
        .where(WithdrawalRow.study_id == study.id)
        .where(WithdrawalRow.sop_instance_uid.in_(pending.withdrawn))
        .where(WithdrawalRow.note_sop_instance_uid.is_(None))
    ).all()
    if {row.sop_instance_uid for row in rows} != pending.withdrawn:
        raise lifecycle.StaleStudyError(study.id)
    generation = _generation(session, study, pending)
    for destination, note in notes.items():
        session.add(outbox_row(session, study, generation, destination, note))
    told = next(iter(notes.values())).sop_instance_uid if notes else NOBODY_HAD_IT
    for row in rows:
        row.note_sop_instance_uid = told
    session.flush()
    missing = sorted(set(pending.held) - set(notes))
    entry = Entry(
        event=Event.SECURITY_ALERT if missing else Event.PROCEDURE_RECORD,
        kind="rejection-note.missing" if missing else "rejection-note.written",
        action="C", outcome=SERIOUS if missing else SUCCESS, actor=actor, object_type="study",
        object_id=study.study_instance_uid,
        detail={"reason": pending.reason, "destinations": sorted(notes), "missing": missing},
    )  # fmt: skip
    record(session, entry)


def _can_be_taken_back(reason: str) -> ColumnElement[bool]:
    """Give objects in archives; and what was told to others, unless a newer word took its place."""
    archived = OutboxRow.sop_class_uid != ""
    return archived if reason == SUPERSEDED else archived | OutboxRow.kind.in_(RETRACTABLE)


def _same(study_id: int, reason: str) -> Select[str]:
    return (
        select(WithdrawalRow.sop_instance_uid)
        .where(WithdrawalRow.study_id == study_id, WithdrawalRow.reason == reason)
        .where(WithdrawalRow.note_sop_instance_uid.is_(None))
    )


def _generation(session: Session, study: StudyRow, pending: Pending) -> int:
    """Give the generation that the withdrawn documents spoke about."""
    number = session.scalar(
        select(OutboxRow.generation)
        .where(OutboxRow.study_id == study.id)
        .where(OutboxRow.sop_instance_uid.in_(pending.withdrawn))
        .order_by(OutboxRow.generation.desc())
        .limit(1)
    )
    return study.generation if number is None else number


def _was_sent(session: Session, study: StudyRow) -> bool:
    latest = (
        select(OutboxRow.id)
        .where(OutboxRow.study_id == study.id, OutboxRow.generation == study.generation)
        .where(OutboxRow.state == SENT, OutboxRow.kind.not_in(ABOUT_REPORTS))
        .limit(1)
    )
    return session.scalar(latest) is not None
