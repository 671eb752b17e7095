"""What the steps read: a study at a generation, its former reports, its outbox."""

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from db.custody import CustodyRow
from db.outbox import WITHDRAWN
from db.tables import GenerationMemberRow, GenerationRow, InstanceRow, OutboxRow, StudyRow
from triage.finding import Document
from triage.record.rows import ABOUT_REPORTS, document_of, study_ref
from triage.study import StudyRef


def load_arrivals(session: Session, study_id: int, spool: Path) -> StudyRef:
    """Give a study with all that is here of it, as the generation that would be closed next."""
    study = session.get_one(StudyRow, study_id)
    rows = session.scalars(
        select(InstanceRow)
        .outerjoin(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.study_id == study_id, CustodyRow.set_aside.is_not(True))
        .where(CustodyRow.purged_at.is_(None))
        .order_by(InstanceRow.id)
    )
    return study_ref(study, study.generation + 1, "", tuple(rows), spool)


def load_generation(session: Session, study_id: int, spool: Path) -> StudyRef:
    """Give a study with the instances of its closed generation."""
    study = session.get_one(StudyRow, study_id)
    generation = session.scalars(
        select(GenerationRow).where(
            GenerationRow.study_id == study_id, GenerationRow.number == study.generation
        )
    ).one()
    rows = session.scalars(
        select(InstanceRow)
        .join(GenerationMemberRow, GenerationMemberRow.instance_id == InstanceRow.id)
        .where(GenerationMemberRow.generation_id == generation.id)
        .order_by(InstanceRow.id)
    )
    return study_ref(study, study.generation, generation.evidence, tuple(rows), spool)


def load_former_reports(session: Session, study_id: int) -> tuple[Document, ...]:
    """Give the documents of the study's latest reported generation.

    That may be the one at hand, when its analysis failed and is tried again.
    """
    study = session.get_one(StudyRow, study_id)
    rows = session.scalars(
        select(OutboxRow)
        .where(OutboxRow.study_id == study_id, OutboxRow.generation <= study.generation)
        .where(OutboxRow.kind.not_in(ABOUT_REPORTS), OutboxRow.state != WITHDRAWN)
        .where(OutboxRow.purged_at.is_(None))
        .order_by(OutboxRow.generation.desc(), OutboxRow.id)
    ).all()
    latest = [row for row in rows if row.generation == rows[0].generation]
    return tuple({row.sop_instance_uid: document_of(row) for row in latest}.values())


def has_newcomers(session: Session, study_id: int) -> bool:
    """Tell whether the study holds instances that its closed generation does not.

    A newer header of a member, about the same patient, is none: the report stays as it is. Nor is
    what was deleted: it may have been left out because of that.
    """
    closed = (
        select(GenerationMemberRow.instance_id)
        .join(GenerationRow, GenerationRow.id == GenerationMemberRow.generation_id)
        .join(StudyRow, StudyRow.id == GenerationRow.study_id)
        .where(GenerationRow.study_id == study_id, GenerationRow.number == StudyRow.generation)
    )
    member, former = aliased(InstanceRow), aliased(CustodyRow)
    revised = (
        select(member.id)
        .join(former, former.instance_id == member.id)
        .where(member.id.in_(closed), member.sop_instance_uid == InstanceRow.sop_instance_uid)
        .where(former.fate_code == "revised", former.patient_id == CustodyRow.patient_id)
        .where(former.issuer_of_patient_id == CustodyRow.issuer_of_patient_id)
        .exists()
    )
    ours = select(OutboxRow.sop_instance_uid).where(OutboxRow.study_id == study_id)
    newcomer = session.scalar(
        select(InstanceRow.id)
        .outerjoin(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.study_id == study_id, InstanceRow.id.not_in(closed))
        .where(CustodyRow.set_aside.is_not(True), CustodyRow.purged_at.is_(None), ~revised)
        .where(InstanceRow.sop_instance_uid.not_in(ours))
        .limit(1)
    )
    return newcomer is not None
