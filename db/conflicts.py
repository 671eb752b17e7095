"""Doubts about a study's identity or content: opened, holding what they concern, and resolved.

Whoever calls has locked the study's row. A study is held as long as a doubt that weighs ``hold`` is
open; the documents that waited to be sent when it was held stay where they are.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db import lifecycle
from db.audit import MINOR, SUCCESS, Entry, Event, record
from db.custody import ConflictRow, CustodyRow
from db.engine import now
from db.states import StudyState
from db.tables import InstanceRow, StudyRow

HOLD: Final = "hold"
WARNING: Final = "warning"
NOTE: Final = "note"
CORRECTED: Final = "corrected"
"""The resolution where the source put it right by itself."""
RELEASE: Final = "release"
"""The resolution where a person lets the study go on in spite of the doubt."""
DISMISS: Final = "dismiss"
"""The resolution where a person set the whole study aside."""


def hold(
    session: Session,
    study: StudyRow,
    code: str,
    sentence: str,
    *,
    actor: str,
    subject: str = "",
) -> None:
    """Hold a study with a coded reason: no report leaves until the doubt is resolved.

    ``code`` is a key of ``triage.errors.REASONS``, ``sentence`` one without its full stop and
    without patient data. A study that is held already only gets the further doubt.

    Raises:
        ValueError: the study's state has no arrow to HELD.
    """
    sentence = _begun(sentence)
    note(session, study, code, sentence, weight=HOLD, actor=actor, subject=subject)
    if study.state == StudyState.HELD:
        return
    show(study, code, sentence)
    lifecycle.move(
        session, study, StudyState.HELD, reason=f"{code}: {sentence}", actor=actor,
        due_at=now(session),
    )  # fmt: skip


def show(study: StudyRow, code: str, sentence: str) -> None:
    """Let the worklist say why the study is held."""
    study.outcome, study.reason_code, study.reason_detail = "held", code, sentence
    study.sentence = f"Held. {sentence}."


def note(  # noqa: PLR0913 - what is said, how heavily, by whom and about what
    session: Session,
    study: StudyRow,
    code: str,
    sentence: str,
    *,
    weight: str,
    actor: str,
    subject: str = "",
) -> bool:
    """Open a doubt, audited; False where the same is open, or is lighter and was resolved."""
    doubt = ConflictRow(
        code=code, weight=weight, detail=sentence, subject=subject, opened_by=actor
    )  # fmt: skip
    if not add(session, study, doubt):
        return False
    entry = Entry(
        event=Event.PROCEDURE_RECORD if weight == NOTE else Event.SECURITY_ALERT,
        kind=f"study.held.{code}" if weight == HOLD else f"conflict.{code}",
        action="U", outcome=SUCCESS if weight == NOTE else MINOR, actor=actor,
        object_type="study", object_id=study.study_instance_uid,
        detail={"reason": code, "subject": subject, "weight": weight},
    )  # fmt: skip
    record(session, entry)
    return True


def add(session: Session, study: StudyRow, doubt: ConflictRow) -> bool:
    """Write a doubt down, unaudited; False where the same is known."""
    known = (
        select(ConflictRow.id)
        .where(ConflictRow.study_id == study.id, ConflictRow.code == doubt.code)
        .where(ConflictRow.subject == doubt.subject)
        .limit(1)
    )
    if doubt.weight == HOLD:
        known = known.where(ConflictRow.resolved_at.is_(None))
    elif doubt.weight == WARNING:
        known = known.where(ConflictRow.generation == study.generation)
    if session.scalar(known) is not None:
        return False
    doubt.study_id, doubt.generation, doubt.opened_at = study.id, study.generation, now(session)
    session.add(doubt)
    session.flush()
    return True


def settle(
    session: Session, conflict: ConflictRow, resolution: str, *, actor: str, reason: str = ""
) -> None:
    """Mark a doubt as resolved. Whether the study moves on is told by ``free``."""
    conflict.resolved_at = now(session)
    conflict.resolved_by, conflict.resolution, conflict.reason = actor, resolution, reason
    session.flush()


def free(session: Session, study: StudyRow, *, actor: str, reason: str, due_at: datetime) -> bool:
    """Let a held study be assembled again, unless another doubt holds it; tells whether."""
    held_by = [one for one in standing(session, study.id) if one.weight == HOLD]
    if held_by:
        show(study, held_by[0].code, held_by[0].detail)
        session.flush()
        return False
    if study.state != StudyState.HELD:
        return False
    study.outcome, study.sentence = "pending", ""
    study.reason_code = study.reason_detail = None
    lifecycle.move(session, study, StudyState.RECEIVING, reason=reason, actor=actor, due_at=due_at)
    return True


def standing(session: Session, study_id: int) -> Sequence[ConflictRow]:
    """Give a study's open doubts, the first one first."""
    return session.scalars(
        select(ConflictRow)
        .where(ConflictRow.study_id == study_id, ConflictRow.resolved_at.is_(None))
        .order_by(ConflictRow.id)
    ).all()


def count_open(session: Session, *weights: str) -> int:
    """Count the open doubts of these weights, over all studies."""
    mine = (ConflictRow.resolved_at.is_(None), ConflictRow.weight.in_(weights))
    return session.scalar(select(func.count()).select_from(ConflictRow).where(*mine)) or 0


def dismissed(session: Session, study_id: int) -> ConflictRow | None:
    """Give the doubt for which a person set this study aside, if that was the last word on it."""
    last = session.scalar(
        select(ConflictRow)
        .where(ConflictRow.study_id == study_id, ConflictRow.weight == HOLD)
        .where(ConflictRow.resolved_at.is_not(None))
        .order_by(ConflictRow.resolved_at.desc(), ConflictRow.id.desc())
        .limit(1)
    )
    return last if last is not None and last.resolution == DISMISS else None


def is_released(session: Session, study: StudyRow, code: str, sentence: str) -> bool:
    """Tell whether a person let a study go on in spite of this doubt, in these words.

    That holds for the generation it was said about, and no later one.
    """
    last = session.scalar(
        select(ConflictRow)
        .where(ConflictRow.study_id == study.id, ConflictRow.code == code)
        .where(ConflictRow.generation == study.generation)
        .order_by(ConflictRow.id.desc())
        .limit(1)
    )
    return last is not None and (last.resolution, last.detail) == (RELEASE, _begun(sentence))


def patients(session: Session, study_id: int) -> list[tuple[str, str]]:
    """Give the (Patient ID, issuer) pairs that a study's counting instances name."""
    found = session.execute(
        select(CustodyRow.patient_id, CustodyRow.issuer_of_patient_id)
        .join(InstanceRow, InstanceRow.id == CustodyRow.instance_id)
        .where(InstanceRow.study_id == study_id, ~CustodyRow.set_aside)
        .distinct()
    )
    return sorted((patient, issuer) for patient, issuer in found)


def put_aside(
    session: Session, custody: CustodyRow, code: str, sentence: str, *, generation: int
) -> None:
    """Let an instance belong to no later generation, and say why."""
    custody.set_aside = True
    custody.fate, custody.fate_code, custody.fate_detail = "excluded", code, sentence
    custody.fate_generation, custody.fate_at = generation, now(session)


def _begun(sentence: str) -> str:
    """Begin a sentence with a capital letter."""
    return sentence[:1].upper() + sentence[1:]
