"""Is this the same patient, the same instance, a correction, a copy? Judged as instances arrive.

Whoever calls has locked the study's row, and added the arrival's own rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import conflicts
from db.audit import Entry, Event, record
from db.conflicts import NOTE, WARNING
from db.custody import ConflictRow, CustodyRow
from db.states import StudyState
from db.tables import InstanceRow, StudyRow

PERSON: Final = ("patient_id", "issuer_of_patient_id")
DEMOGRAPHICS: Final = ("patient_name", "patient_birth_date", "patient_sex")
IDENTITY_CONFLICT: Final = "identity-conflict"
ALIKE: Final = 50
"""Studies of one Patient ID that are compared with a new one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an arrival means for its study."""

    held: bool = False
    """A doubt holds it."""
    freed: bool = False
    """A correction ended the doubt that held it."""
    counts: bool = True
    """There is something new to analyse: a closed study is reopened."""


def judge(
    session: Session, study: StudyRow, new: InstanceRow, twins: Sequence[InstanceRow], actor: str
) -> Verdict:
    """Judge a new content by its identity, its twins (same SOP Instance UID) and its pixels."""
    custody = session.get_one(CustodyRow, new.id)
    revised = _revise(session, study, new, custody, twins)
    _look_for_copies(session, study, custody, actor)
    doubt = _doubt(session, study, custody)
    if twins and not revised:
        doubt = "content-conflict", "One SOP Instance UID arrived with two contents"
    if doubt is not None:
        subject = new.sop_instance_uid if doubt[0] == "content-conflict" else ""
        conflicts.hold(session, study, *doubt, actor=actor, subject=subject)
        return Verdict(held=True)
    if _person(custody) != _person(study) or _doubted(session, study) is not None:
        return _settle_person(session, study, custody, actor=actor)
    if revised:
        _follow(session, study, custody, actor)
    return Verdict(counts=not revised or study.state == StudyState.RECEIVING)


def _doubt(session: Session, study: StudyRow, custody: CustodyRow) -> tuple[str, str] | None:
    """Give why an instance holds its study whatever it shows: a code and a sentence."""
    if not custody.patient_id:
        return "no-patient", "Patient ID is missing"
    last = conflicts.dismissed(session, study.id)
    return None if last is None else (last.code, "Instances came after it was set aside")


def greet(
    session: Session, study: StudyRow, actor: str, same_name: Callable[[str, str], bool]
) -> None:
    """Warn about a new study whose Patient ID names somebody else in another study."""
    if not study.patient_id:
        return
    others = session.scalars(
        select(StudyRow)
        .where(StudyRow.patient_id == study.patient_id, StudyRow.id != study.id)
        .where(StudyRow.issuer_of_patient_id == study.issuer_of_patient_id)
        .order_by(StudyRow.id.desc())
        .limit(ALIKE)
    )
    for other in others:
        names = same_name(study.patient_name, other.patient_name)
        dates = {study.patient_birth_date, other.patient_birth_date} - {""}
        if not names or len(dates) > 1:
            what = "name" if not names else "birth date"
            sentence = f"Another study with this Patient ID has another {what}"
            conflicts.note(
                session, study, "identity-differs", sentence, weight=WARNING, actor=actor,
                subject=other.study_instance_uid,
            )  # fmt: skip
            return


def _person(row: StudyRow | CustodyRow) -> tuple[str, str]:
    return row.patient_id, row.issuer_of_patient_id


def _revise(
    session: Session,
    study: StudyRow,
    new: InstanceRow,
    custody: CustodyRow,
    twins: Sequence[InstanceRow],
) -> bool:
    """Put older versions of an instance aside where only its header changed; tells whether."""
    pixels = custody.pixel_sha256
    older = [session.get_one(CustodyRow, one.id) for one in twins]
    alike = all(one.pixel_sha256 == pixels for one in older)
    if not (older and pixels and alike and all(one.study_id == new.study_id for one in twins)):
        return False
    for one in older:
        if not one.set_aside:
            conflicts.put_aside(
                session, one, "revised", "A newer version of its header came",
                generation=study.generation,
            )  # fmt: skip
    session.flush()
    return True


def _settle_person(
    session: Session, study: StudyRow, custody: CustodyRow, *, actor: str
) -> Verdict:
    """Hold a study that names two patients; let it go once a correction has reached every one."""
    doubt = _doubted(session, study)
    if len(conflicts.patients(session, study.id)) > 1:
        sentence = "Instances of this study name two patients"
        conflicts.hold(session, study, IDENTITY_CONFLICT, sentence, actor=actor)
        return Verdict(held=True)
    _follow(session, study, custody, actor, warn=False)
    if doubt is not None:
        conflicts.settle(session, doubt, conflicts.CORRECTED, actor=actor)
    return Verdict(freed=doubt is not None)


def _doubted(session: Session, study: StudyRow) -> ConflictRow | None:
    if study.state != StudyState.HELD:
        return None
    return session.scalar(
        select(ConflictRow)
        .where(ConflictRow.study_id == study.id, ConflictRow.code == IDENTITY_CONFLICT)
        .where(ConflictRow.resolved_at.is_(None))
    )


def _follow(
    session: Session, study: StudyRow, custody: CustodyRow, actor: str, *, warn: bool = True
) -> None:
    """Let the worklist show the corrected patient, audited (DCM 110110)."""
    names = (*PERSON, *DEMOGRAPHICS)
    changed = [name for name in names if getattr(study, name) != getattr(custody, name)]
    if not changed:
        return
    for name in changed:
        setattr(study, name, getattr(custody, name))
    entry = Entry(
        event=Event.PATIENT_RECORD, kind="patient.revised", action="U", actor=actor,
        object_type="study", object_id=study.study_instance_uid, detail={"changed": changed},
    )  # fmt: skip
    record(session, entry)
    if warn and study.generation:
        words = ", ".join(name.replace("_", " ") for name in changed)
        sentence = f"The source corrected {words} after the report; the report is as it was"
        conflicts.note(
            session, study, "demographics-changed", sentence, weight=WARNING, actor=actor
        )


def _look_for_copies(session: Session, study: StudyRow, custody: CustodyRow, actor: str) -> None:
    if not custody.pixel_sha256:
        return
    other = session.scalar(
        select(StudyRow.study_instance_uid)
        .join(InstanceRow, InstanceRow.study_id == StudyRow.id)
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(CustodyRow.pixel_sha256 == custody.pixel_sha256, StudyRow.id != study.id)
        .order_by(StudyRow.id)
        .limit(1)
    )
    if other is not None:
        conflicts.note(
            session, study, "possible-copy", "The same pixels came under another study",
            weight=NOTE, actor=actor, subject=other,
        )  # fmt: skip
