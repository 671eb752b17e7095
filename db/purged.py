"""What retention deleted of a study, and what of it came again. Who writes holds the study's row.

A file goes from the store only under that lock too, and only while its row says that it is purged:
so what came again meanwhile stays.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.custody import CustodyRow
from db.engine import now
from db.states import StudyState
from db.tables import GenerationMemberRow, GenerationRow, InstanceRow, StudyRow

AT_REST: Final = (StudyState.DELIVERED, StudyState.REJECTED)
"""Whose images may be deleted: nothing more is to happen to these studies."""

IS_GONE: Final = (
    select(InstanceRow.id)
    .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
    .where(InstanceRow.study_id == StudyRow.id)
    .where(~CustodyRow.set_aside, CustodyRow.purged_at.is_not(None))
    .exists()
)
"""Condition on a study: something that counts for it was deleted."""


@dataclass(frozen=True, slots=True)
class Purged:
    """How much of what counts for a study was deleted here."""

    gone: int
    here: int


def of_study(session: Session, study_id: int) -> Purged:
    """Count a study's instances that were deleted and those that are here, set aside ones not."""
    everything, gone = session.execute(
        select(func.count(), func.count(CustodyRow.purged_at))
        .select_from(InstanceRow)
        .outerjoin(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.study_id == study_id, CustodyRow.set_aside.is_not(True))
    ).one()
    return Purged(gone, everything - gone)


def still(session: Session, study_id: int, digests: Collection[str]) -> Sequence[str]:
    """Lock a study, and give those of its contents that its rows still call purged."""
    session.execute(select(StudyRow.id).where(StudyRow.id == study_id).with_for_update())
    return session.scalars(
        select(InstanceRow.sha256)
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.study_id == study_id, InstanceRow.sha256.in_(digests))
        .where(CustodyRow.purged_at.is_not(None))
    ).all()


def restore(session: Session, study: StudyRow, instance: InstanceRow) -> bool:
    """Take an instance of a locked study as here again; tells whether it is news to the study.

    It is none to a study whose latest generation holds it: that was analysed, and its report
    stands. Such a study rests anew from now on, so that retention does not take it the same night.
    """
    custody = session.get_one(CustodyRow, instance.id)
    custody.purged_at = None
    is_news = not custody.set_aside and not _is_known(session, study, instance)
    if is_news:
        study.last_instance_at = now(session)
    elif study.state in AT_REST:
        study.settled_at = now(session)
    session.flush()
    return is_news


def _is_known(session: Session, study: StudyRow, instance: InstanceRow) -> bool:
    """Tell whether a study that is not open was last closed with an instance."""
    if study.state in (StudyState.RECEIVING, StudyState.HELD):
        return False
    member = (
        select(GenerationMemberRow.instance_id)
        .join(GenerationRow, GenerationRow.id == GenerationMemberRow.generation_id)
        .where(GenerationRow.study_id == study.id, GenerationRow.number == study.generation)
        .where(GenerationMemberRow.instance_id == instance.id)
    )
    return session.scalar(member) is not None
