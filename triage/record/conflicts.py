"""Doubts that a person resolves: what can be done about each, and doing it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from db import conflicts, lifecycle, purged
from db.audit import Entry, Event, record
from db.conflicts import DISMISS, HOLD, RELEASE, put_aside
from db.custody import ConflictRow, CustodyRow
from db.engine import now
from db.identity import DEMOGRAPHICS, PERSON
from db.outbox import QUEUED, WITHDRAWN, rest
from db.states import StudyState
from db.tables import InstanceRow, OutboxRow, StudyRow
from triage.errors import REASONS, Reason, TriageError
from triage.finding import Outcome
from triage.record import withdrawals
from triage.record.withdrawals import NothingToWithdraw, Who

ACKNOWLEDGE: Final = "acknowledge"
REISSUE: Final = "reissue"
KEEP: Final = "keep-"
"""Followed by the number of an instance: its content, or its patient, is the right one."""
TAKEN_BACK: Final = {
    "identity-conflict": "wrong-patient",
    "no-patient": "wrong-patient",
    "wrong-worklist-entry": "wrong-order",
}
"""Why a report that left is withdrawn when its study is set aside; else the result was wrong."""
REOPENABLE: Final = frozenset({StudyState.DELIVERED, StudyState.REJECTED, StudyState.FAILED})
MOST: Final = 500


class NoSuchConflict(TriageError):
    """There is no open doubt with that number."""


class NoSuchChoice(TriageError):
    """This cannot be done about this doubt."""


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that can be done about a doubt."""

    code: str
    words: str
    """Without patient data."""
    patient_name: str = ""
    """Whose data would be kept: for the signed-in person's page, never for a log."""
    patient_id: str = ""


def list_open(session: Session, *, every: bool = False) -> Sequence[ConflictRow]:
    """Give the open doubts, the heaviest and then the oldest first; with ``every``, all."""
    wanted = select(ConflictRow).order_by(ConflictRow.weight, ConflictRow.id).limit(MOST)
    if not every:
        wanted = wanted.where(ConflictRow.resolved_at.is_(None))
    return session.scalars(wanted).all()


def options(session: Session, conflict: ConflictRow) -> tuple[Option, ...]:
    """Give what can be done about a doubt, the most ordinary first."""
    if conflict.weight != HOLD:
        noted = Option(ACKNOWLEDGE, "I have seen it; nothing is to be done")
        if conflict.code != "demographics-changed":
            return (noted,)
        return (noted, Option(REISSUE, "Analyse again and send a report with the corrected data"))
    found: list[Option] = []
    if conflict.code in ("content-conflict", "identity-conflict", "no-patient"):
        found += [_keep(*one) for one in _sides(session, conflict)]
    elif conflict.code != "images-deleted":
        found.append(Option(RELEASE, "The study is right as it is: analyse it"))
    elif purged.of_study(session, conflict.study_id).here:
        found.append(Option(RELEASE, "Analyse what is here, without what was deleted"))
    return (*found, Option(DISMISS, "Set the whole study aside: it is not analysed"))


def resolve(session: Session, conflict_id: int, choice: str, reason: str, who: Who) -> ConflictRow:
    """Do what a person decided about a doubt, audited, in the caller's transaction.

    Raises:
        NoSuchConflict: there is none with that number, or it is resolved.
        NoSuchChoice: this cannot be done about it, or no reason is given.
    """
    study = session.scalar(
        select(StudyRow)
        .join(ConflictRow, ConflictRow.study_id == StudyRow.id)
        .where(ConflictRow.id == conflict_id)
        .with_for_update(of=StudyRow)
        .execution_options(populate_existing=True)
    )
    conflict = session.get(ConflictRow, conflict_id, populate_existing=True)
    if study is None or conflict is None or conflict.resolved_at is not None:
        msg = f"no open conflict {conflict_id}; `triage conflict ls` lists them"
        raise NoSuchConflict(msg)
    known = [one.code for one in options(session, conflict)]
    if choice not in known:
        msg = f"conflict {conflict_id} cannot be resolved by {choice}; choose: {', '.join(known)}"
        raise NoSuchChoice(msg)
    if not reason.strip():
        msg = "say why: a resolution is kept with its reason"
        raise NoSuchChoice(msg)
    conflicts.settle(session, conflict, choice, actor=who.name, reason=reason.strip())
    _audit(session, study, conflict, who)
    _act(session, study, conflict, who)
    return conflict


def _act(session: Session, study: StudyRow, conflict: ConflictRow, who: Who) -> None:
    choice, due_at = conflict.resolution, now(session)
    if choice == DISMISS:
        _dismiss(session, study, conflict, who)
    elif choice == REISSUE:
        _reissue(session, study, who)
    elif choice != ACKNOWLEDGE:
        if choice.startswith(KEEP):
            _set_others_aside(session, study, conflict, who)
        _drop_withheld(session, study)
        why = f"resolved: {conflict.code} by {choice}"
        conflicts.free(session, study, actor=who.name, reason=why, due_at=due_at)


def _sides(session: Session, conflict: ConflictRow) -> list[tuple[InstanceRow, CustodyRow, int]]:
    """Give one instance of each side of a doubt, the first that came, with how many it has."""
    rows = session.execute(_counting(conflict)).all()
    sides: dict[tuple[str, ...], list[tuple[InstanceRow, CustodyRow]]] = {}
    for instance, custody in rows:
        if conflict.code == "content-conflict" or custody.patient_id:
            sides.setdefault(_side(conflict, instance, custody), []).append((instance, custody))
    return [(*members[0], len(members)) for members in sides.values()]


def _side(conflict: ConflictRow, instance: InstanceRow, custody: CustodyRow) -> tuple[str, ...]:
    """Give what tells the sides of a doubt apart."""
    if conflict.code == "content-conflict":
        return (instance.sha256,)
    return (
        custody.patient_id, custody.issuer_of_patient_id, custody.patient_name,
        custody.patient_birth_date,
    )  # fmt: skip


def _counting(conflict: ConflictRow) -> Select[InstanceRow, CustodyRow]:
    rows = (
        select(InstanceRow, CustodyRow)
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.study_id == conflict.study_id, ~CustodyRow.set_aside)
        .order_by(InstanceRow.id)
    )
    if conflict.code == "content-conflict":
        rows = rows.where(InstanceRow.sop_instance_uid == conflict.subject)
    return rows


def _keep(instance: InstanceRow, custody: CustodyRow, count: int) -> Option:
    """Word one side: when and from where its first instance came, and its digest."""
    at = instance.received_at.isoformat(sep=" ", timespec="seconds")
    words = (
        f"Keep this one: {count} instance{'s' * (count > 1)}, the first received {at} from "
        f"{instance.source_ae_title or 'an unknown source'}, SHA-256 {instance.sha256[:12]}"
    )
    return Option(f"{KEEP}{instance.id}", words, custody.patient_name, custody.patient_id)


def _set_others_aside(session: Session, study: StudyRow, conflict: ConflictRow, who: Who) -> None:
    """Let only one side count; the worklist shows its patient."""
    rows = session.execute(_counting(conflict)).all()
    number = int(conflict.resolution.removeprefix(KEEP))
    kept, its = next(pair for pair in rows if pair[0].id == number)
    right = _side(conflict, kept, its)
    for instance, custody in rows:
        if _side(conflict, instance, custody) != right:
            sentence = f"A person decided: {REASONS[conflict.code].meaning.lower()}"
            put_aside(session, custody, "set-aside", sentence, generation=study.generation)
    if conflict.code != "content-conflict":
        _adopt(session, study, its, who)
    session.flush()


def _adopt(session: Session, study: StudyRow, its: CustodyRow, who: Who) -> None:
    """Let the worklist show the right patient; a report that named another is taken back."""
    wrong = (its.patient_id, its.issuer_of_patient_id) != (
        study.patient_id, study.issuer_of_patient_id
    )  # fmt: skip
    for name in (*PERSON, *DEMOGRAPHICS):
        setattr(study, name, getattr(its, name))
    if wrong:
        with suppress(NothingToWithdraw):
            withdrawals.withdraw(session, study.id, "wrong-patient", who)


def _dismiss(session: Session, study: StudyRow, conflict: ConflictRow, who: Who) -> None:
    """Close the study as "not analysed"; what was reported of it is taken back."""
    for other in conflicts.standing(session, study.id):
        if other.weight == HOLD:
            conflicts.settle(session, other, DISMISS, actor=who.name, reason=conflict.reason)
    _drop_withheld(session, study)
    with suppress(NothingToWithdraw):
        why = TAKEN_BACK.get(conflict.code, "wrong-result")
        withdrawals.withdraw(session, study.id, why, who)
    reason = Reason("set-aside", f"A person set it aside: {conflict.detail[:1].lower()}"
                    f"{conflict.detail[1:]}")  # fmt: skip
    rows = session.scalars(
        select(CustodyRow)
        .join(InstanceRow, InstanceRow.id == CustodyRow.instance_id)
        .where(InstanceRow.study_id == study.id, ~CustodyRow.set_aside)
    )
    for custody in rows.all():
        put_aside(session, custody, reason.code, reason.sentence, generation=study.generation)
    at = now(session)
    for new in (StudyState.RECEIVING, StudyState.REJECTED):
        lifecycle.move(session, study, new, reason=str(reason), actor=who.name, due_at=at)
    study.outcome, study.sentence = Outcome.NOT_ANALYSED, f"Not analysed. {reason.sentence}."
    study.reason_code, study.reason_detail = reason.code, reason.sentence
    study.priority, study.priority_name, study.rank, study.score = 0, "", None, None
    session.flush()


def _reissue(session: Session, study: StudyRow, who: Who) -> None:
    """Have a study at rest analysed again: its next generation names the corrected patient."""
    if study.state not in REOPENABLE:
        msg = f"study {study.id} is {study.state}; wait until it rests, then say so again"
        raise NoSuchChoice(msg)
    due_at = now(session)
    lifecycle.move(
        session, study, StudyState.RECEIVING, reason="re-issue", actor=who.name, due_at=due_at
    )


def _drop_withheld(session: Session, study: StudyRow) -> None:
    """Let go of documents that waited while the study was held: a newer analysis speaks instead."""
    rows = session.scalars(
        select(OutboxRow)
        .where(OutboxRow.study_id == study.id, OutboxRow.state == QUEUED)
        .where(OutboxRow.generation == study.generation, ~OutboxRow.in_doubt)
        .with_for_update()
    )
    for row in rows.all():
        row.state = WITHDRAWN
        row.fence += 1
        rest(row, due_at=None)
    session.flush()


def _audit(session: Session, study: StudyRow, conflict: ConflictRow, who: Who) -> None:
    entry = Entry(
        event=Event.PROCEDURE_RECORD, kind="conflict.resolved", action="U", actor=who.name,
        actor_role=who.role, network_address=who.address, object_type="study",
        object_id=study.study_instance_uid,
        detail={
            "conflict": conflict.id, "reason": conflict.code, "resolution": conflict.resolution,
            "subject": conflict.subject,
        },
    )  # fmt: skip
    record(session, entry)
