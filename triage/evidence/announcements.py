"""What modalities and archives announce: performed steps (PS3.4 F.7) and availability (R)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from pydicom.dataset import Dataset
from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.orm import Session

from db import conflicts
from db.engine import now
from db.evidence import AnnouncedInstanceRow, AnnouncedStudyRow, AnnouncementRow
from db.tables import InstanceRow, StudyRow
from db.upsert import insert_once
from triage.errors import REASONS

Fact = TypeVar("Fact")
MPPS: Final = "mpps"
IAN: Final = "ian"
IN_PROGRESS: Final = "IN PROGRESS"
DISCONTINUED: Final = "DISCONTINUED"
ENDED: Final = frozenset(("COMPLETED", DISCONTINUED))
AVAILABLE: Final = "AVAILABLE"
WRONG_ENTRY: Final = "110514"
"""Incorrect worklist entry selected (DCM, CID 9301)."""
CODE: Final = "wrong-worklist-entry"
NOT_THERE: Final = "UNAVAILABLE"
REFERENCES: Final = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
ACTOR: Final = "ingestor"


@dataclass(frozen=True, slots=True)
class Announcement:
    """One message, in our words."""

    sop_instance_uid: str
    kind: str
    state: str
    revision: int
    ae_title: str
    study_instance_uids: tuple[str, ...]
    instances: tuple[tuple[str, str], ...]
    """Series and SOP Instance UIDs."""
    modality: str = ""
    reason_code: str = ""


def of_step(step: Dataset, uid: str, ae_title: str, revision: int) -> Announcement:
    """Read a performed step as the listener keeps it."""
    reasons = step.get("PerformedProcedureStepDiscontinuationReasonCodeSequence") or ()
    codes = [str(one.CodeValue) for one in reasons if one.CodingSchemeDesignator == "DCM"]
    return Announcement(
        sop_instance_uid=uid,
        kind=MPPS,
        state=str(step.PerformedProcedureStepStatus),
        revision=revision,
        ae_title=ae_title,
        study_instance_uids=_each(
            str(one.StudyInstanceUID) for one in step.ScheduledStepAttributesSequence
        ),
        instances=tuple(dict.fromkeys(_performed(step))),
        modality=str(step.get("Modality", "")),
        reason_code=codes[0][:16] if codes else "",
    )


def of_notification(told: Dataset, uid: str, ae_title: str) -> Announcement:
    """Read an Instance Availability Notification; what is unavailable is not waited for."""
    return Announcement(
        sop_instance_uid=uid,
        kind=IAN,
        state=AVAILABLE,
        revision=1,
        ae_title=ae_title,
        study_instance_uids=(str(told.StudyInstanceUID),),
        instances=_each(
            (str(series.SeriesInstanceUID), str(one.ReferencedSOPInstanceUID))
            for series in told.ReferencedSeriesSequence
            for one in series.ReferencedSOPSequence
            if str(one.get("InstanceAvailability", "")) != NOT_THERE
        ),
    )


def save(session: Session, told: Announcement) -> tuple[StudyRow, ...]:
    """Write an announcement; gives the studies that it speaks about and that are here, locked.

    Twice is once, and an older message about a step changes nothing. Of two with one number the
    later counts: the sender was told that the first had failed, and said it again.
    """
    studies = tuple(
        session.scalars(
            select(StudyRow)
            .where(StudyRow.study_instance_uid.in_(told.study_instance_uids))
            .order_by(StudyRow.id)
            .with_for_update()
        )
    )
    at = now(session)
    begun = {
        "sop_instance_uid": told.sop_instance_uid, "kind": told.kind, "state": IN_PROGRESS,
        "revision": 0, "reason_code": "", "ae_title": told.ae_title, "modality": told.modality,
        "listed": 0, "missing": 0, "first_at": at, "last_at": at,
    }  # fmt: skip
    insert_once(session, AnnouncementRow, begun)
    row = session.scalars(
        select(AnnouncementRow)
        .where(AnnouncementRow.sop_instance_uid == told.sop_instance_uid)
        .with_for_update()
    ).one()
    if told.revision < row.revision:
        return studies
    row.state, row.revision, row.reason_code = told.state, told.revision, told.reason_code
    row.listed, row.last_at = len(told.instances), at
    for uid in told.study_instance_uids:
        names = {"announcement_id": row.id, "study_instance_uid": uid}
        insert_once(session, AnnouncedStudyRow, names)
    _list(session, row.id, told.instances)
    row.missing = missing(session, row.id)
    session.flush()
    return studies


def is_known(session: Session, told: Announcement) -> bool:
    """Tell whether this message, or a later one about the same step, was written."""
    known = select(AnnouncementRow.revision).where(
        AnnouncementRow.sop_instance_uid == told.sop_instance_uid
    )
    return (session.scalar(known) or 0) >= told.revision


def missing(session: Session, announcement_id: int) -> int:
    """Count the listed instances that are not here, from the rows themselves."""
    here = exists().where(InstanceRow.sop_instance_uid == AnnouncedInstanceRow.sop_instance_uid)
    counted = select(func.count()).where(
        AnnouncedInstanceRow.announcement_id == announcement_id, ~here
    )
    return session.scalar(counted) or 0


def note_arrival(session: Session, sop_instance_uid: str) -> bool:
    """Tick an instance off every list that waits for it; tells whether a list is now done."""
    waiting = (
        AnnouncedInstanceRow.sop_instance_uid == sop_instance_uid,
        AnnouncedInstanceRow.here.is_(False),
    )
    lists = list(session.scalars(select(AnnouncedInstanceRow.announcement_id).where(*waiting)))
    if not lists:
        return False
    quietly = {"synchronize_session": False}
    session.execute(
        update(AnnouncedInstanceRow).where(*waiting).values(here=True), execution_options=quietly
    )
    session.execute(
        update(AnnouncementRow)
        .where(AnnouncementRow.id.in_(lists))
        .values(missing=AnnouncementRow.missing - 1),
        execution_options=quietly,
    )
    left = select(func.min(AnnouncementRow.missing)).where(AnnouncementRow.id.in_(lists))
    return (session.scalar(left) or 0) <= 0


def of_study(session: Session, study_instance_uid: str) -> tuple[AnnouncementRow, ...]:
    """Give what was announced of a study, oldest first."""
    return tuple(
        session.scalars(
            select(AnnouncementRow)
            .join(AnnouncedStudyRow, AnnouncedStudyRow.announcement_id == AnnouncementRow.id)
            .where(AnnouncedStudyRow.study_instance_uid == study_instance_uid)
            .order_by(AnnouncementRow.id)
        )
    )


def object_to(session: Session, study: StudyRow) -> bool:
    """Hold a study whose modality says that it took the wrong worklist entry; tells whether."""
    wrong = [
        one
        for one in of_study(session, study.study_instance_uid)
        if one.state == DISCONTINUED and one.reason_code == WRONG_ENTRY
    ]
    if wrong and not any(one.code == CODE for one in conflicts.standing(session, study.id)):
        step = wrong[0].sop_instance_uid
        conflicts.hold(session, study, CODE, REASONS[CODE].meaning, actor=ACTOR, subject=step)
    return bool(wrong)


def _performed(step: Dataset) -> Iterator[tuple[str, str]]:
    for series in step.get("PerformedSeriesSequence") or ():
        for keyword in REFERENCES:
            for one in series.get(keyword) or ():
                yield str(series.SeriesInstanceUID), str(one.ReferencedSOPInstanceUID)


def _list(session: Session, announcement_id: int, instances: Iterable[tuple[str, str]]) -> None:
    """Replace what an announcement lists; an instance is listed once."""
    mine = AnnouncedInstanceRow.announcement_id == announcement_id
    session.execute(delete(AnnouncedInstanceRow).where(mine))
    rows = [
        {
            "announcement_id": announcement_id, "series_instance_uid": series,
            "sop_instance_uid": uid, "here": False,
        }
        for uid, series in {uid: series for series, uid in instances}.items()
    ]  # fmt: skip
    if rows:
        session.execute(insert(AnnouncedInstanceRow), rows)
    here = exists().where(InstanceRow.sop_instance_uid == AnnouncedInstanceRow.sop_instance_uid)
    session.execute(
        update(AnnouncedInstanceRow).where(mine, here).values(here=True),
        execution_options={"synchronize_session": False},
    )


def _each(ones: Iterable[Fact]) -> tuple[Fact, ...]:
    return tuple(dict.fromkeys(ones))
