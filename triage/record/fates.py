"""What became of each instance of a generation: analysed, or excluded with a coded reason."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.custody import CustodyRow
from db.engine import now
from db.tables import GenerationMemberRow, GenerationRow, InstanceRow
from triage.errors import Reason
from triage.finding import Assessment
from triage.study import StudyRef

Fates = Mapping[str, Reason | None]
"""By SOP Instance UID; None is analysed."""


def save_fates(session: Session, study_id: int, assessment: Assessment) -> None:
    """Write what became of each instance that a finished assessment is about."""
    generation = assessment.study.ref.generation
    _write(session, study_id, generation, fates_of(assessment))


def save_excluded(session: Session, study_id: int, ref: StudyRef, reason: Reason | None) -> None:
    """Write that no instance of a generation was analysed, and why."""
    why = reason or Reason("no-series")
    _write(session, study_id, ref.generation, {one.sop_instance_uid: why for one in ref.instances})


def fates_of(assessment: Assessment) -> Fates:
    """Give each instance's fate: what detectors looked at, and why they did not at the others.

    That a detector could not speak is told before that no route selects the image.
    """
    study = assessment.study
    if not assessment.detections:
        why = assessment.decision.reason or Reason("no-series")
        return {one.sop_instance_uid: why for one in study.ref.instances}
    seen = {uid for one in assessment.detections for uid in one.sop_instance_uids}
    refused = {one.series_instance_uid: one.reason for one in assessment.refusals}
    found: dict[str, Reason | None] = {
        one.sop_instance_uid: Reason("no-image", "not an image") for one in study.others
    }
    for series in study.series:
        why = refused.get(series.series_instance_uid, Reason("not-selected"))
        for image in series.images:
            uid = image.ref.sop_instance_uid
            found[uid] = None if uid in seen else why
    return found


def _write(session: Session, study_id: int, generation: int, fates: Fates) -> None:
    at = now(session)
    members = session.execute(
        select(CustodyRow, InstanceRow.sop_instance_uid)
        .join(InstanceRow, InstanceRow.id == CustodyRow.instance_id)
        .join(GenerationMemberRow, GenerationMemberRow.instance_id == InstanceRow.id)
        .join(GenerationRow, GenerationRow.id == GenerationMemberRow.generation_id)
        .where(GenerationRow.study_id == study_id, GenerationRow.number == generation)
    )
    for custody, uid in members:
        if custody.set_aside:
            continue
        reason = fates.get(uid, Reason("not-selected"))
        custody.fate = "analysed" if reason is None else "excluded"
        custody.fate_code = reason.code if reason else ""
        custody.fate_detail = reason.sentence if reason else ""
        custody.fate_generation, custody.fate_at = generation, at
    session.flush()
