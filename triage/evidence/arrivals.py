"""What one arriving instance means for its study's completeness, noted in its transaction."""

import re
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db import conflicts
from db.engine import now
from db.evidence import SeriesArrivalRow, SourceCountRow, UrgencyRow
from db.states import StudyState
from db.tables import StudyRow
from db.upsert import insert_once
from triage.arrival import Arrival
from triage.evidence import announcements, pace, rejections
from triage.settings import Completeness

ACTOR: Final = "ingestor"
INCOMPLETE: Final = "study-incomplete"
DELETED: Final = "images-deleted"
SAID_URGENT: Final = frozenset(("STAT", "HIGH"))
"""Requested Procedure Priority (0040,1003), where a sender puts it into its images."""


def arrived(session: Session, study: StudyRow, arrival: Arrival, rules: Completeness) -> datetime:
    """Note a new instance of a locked study; gives when the study is next looked at.

    That is at once where an announcement has now come true, else after the quiet period. A study
    that was held because it was incomplete, or because all its images had been rejected, is let go
    on; one of a wrong worklist entry is held, and what a note rejected before is put aside.
    """
    station = _station(arrival)
    _note_series(session, study, arrival, station, rules)
    if study.instance_count == 1:
        _note_urgency(session, study, arrival, rules)
    _ask_later(session, study, arrival, rules)
    done = announcements.note_arrival(session, arrival.values["SOPInstanceUID"])
    wait = pace.quiet(session, rules, station, arrival.values["Modality"])
    due_at = now(session) + timedelta(seconds=0 if done else wait.seconds)
    if arrival.rejects[0]:
        rejections.apply(session, study, arrival)
        return due_at
    adds = not rejections.was_rejected(session, study, arrival) and rejections.is_image(arrival)
    if not announcements.object_to(session, study):
        _free(session, study, due_at, adds_image=adds)
    return due_at


def restored(session: Session, study: StudyRow, arrival: Arrival, rules: Completeness) -> datetime:
    """Let a locked study go on of which a deleted instance came again; gives when it is due.

    It was noted when it came first: it is counted once.
    """
    wait = pace.quiet(session, rules, _station(arrival), arrival.values["Modality"])
    due_at = now(session) + timedelta(seconds=wait.seconds)
    _free(session, study, due_at, adds_image=rejections.is_image(arrival))
    return due_at


def _station(arrival: Arrival) -> str:
    values = arrival.values
    return f"{arrival.source_ae_title}/{values['StationName']}/{values['Modality']}"


def _note_series(
    session: Session, study: StudyRow, arrival: Arrival, station: str, rules: Completeness
) -> None:
    values, at = arrival.values, arrival.passage.spooled_at or now(session)
    mine = SeriesArrivalRow.study_id == study.id
    last_at = session.scalar(select(func.max(SeriesArrivalRow.last_at)).where(mine))
    gap_ms = 0 if last_at is None else round((at - last_at).total_seconds() * 1000)
    if gap_ms > rules.learning.longest_s * 1000:
        gap_ms = 0
    uid = values["SeriesInstanceUID"]
    row = session.scalar(
        select(SeriesArrivalRow).where(mine, SeriesArrivalRow.series_instance_uid == uid)
    )
    if row is None:
        row = SeriesArrivalRow(
            study_id=study.id, series_instance_uid=uid, modality=values["Modality"],
            body_part=values["BodyPartExamined"].upper(),
            description=values["SeriesDescription"].upper(), station=station, instances=0,
            first_at=at, last_at=at, longest_gap_ms=0,
        )  # fmt: skip
        session.add(row)
    row.instances += 1
    row.last_at = max(row.last_at, at)
    row.longest_gap_ms = max(row.longest_gap_ms, gap_ms)
    session.flush()


def _note_urgency(session: Session, study: StudyRow, arrival: Arrival, rules: Completeness) -> None:
    """Note that a study goes before others, as its first instance says."""
    values, urgent = arrival.values, rules.urgent
    said = f"{values['StudyDescription']} {values['SeriesDescription']}".upper()
    words = set(re.split(r"[\W_]+", said))
    by = (
        "priority" if values["RequestedProcedurePriority"].upper() in SAID_URGENT
        else "sender" if arrival.source_ae_title in urgent.ae_titles
        else "description" if words & set(urgent.words)
        else ""
    )  # fmt: skip
    if by:
        facts = {"study_id": study.id, "head_start_s": urgent.head_start_s, "said_by": by}
        insert_once(session, UrgencyRow, facts)


def _ask_later(session: Session, study: StudyRow, arrival: Arrival, rules: Completeness) -> None:
    """Have the study's source asked how many instances it has, soon after the last one."""
    who = arrival.source_ae_title
    fitting = [one for one in rules.sources if not one.of or who in one.of]
    # One that names this sender goes before one that has any sender's studies.
    source = min(fitting, key=lambda one: not one.of, default=None)
    if source is None:
        return
    row = session.get(SourceCountRow, study.id)
    if row is None:
        row = SourceCountRow(study_id=study.id, source=source.name, agreed=0, tries=0)
        session.add(row)
    row.source, row.agreed, row.tries = source.name, 0, 0
    row.due_at = now(session) + timedelta(seconds=rules.count_after_s)
    session.flush()


def _free(session: Session, study: StudyRow, due_at: datetime, *, adds_image: bool) -> None:
    """Let a study go on that was held because of what is not here: something came.

    One of which no image was left needs an image that is not rejected.
    """
    if study.state != StudyState.HELD:
        return
    lacking = {INCOMPLETE, DELETED} | ({rejections.CODE} if adds_image else set())
    doubts = [one for one in conflicts.standing(session, study.id) if one.code in lacking]
    for doubt in doubts:
        conflicts.settle(session, doubt, conflicts.CORRECTED, actor=ACTOR)
    if doubts:
        conflicts.free(session, study, actor=ACTOR, reason="late instances", due_at=due_at)
