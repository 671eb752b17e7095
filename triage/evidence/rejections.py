"""Rejection notes (IHE IOCM): what a source takes back is analysed no more, and its flag is gone.

Bytes, rows and audit stay. Where all images of a study are taken back it is held; where some are,
it is assembled again without them, as a new generation. A note may come before what it rejects:
whatever the order, the study ends alike.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import conflicts
from db.audit import Entry, Event, record
from db.custody import CustodyRow
from db.engine import now
from db.evidence import RejectedInstanceRow
from db.queries import NOT_IMAGES
from db.tables import InstanceRow, StudyRow
from db.upsert import insert_all_once
from triage.arrival import KEY_OBJECTS, Arrival

ACTOR: Final = "ingestor"
CODE: Final = "retracted"
MEANINGS: Final = {
    "113001": "for quality reasons",
    "113037": "for patient safety reasons",
    "113038": "for an incorrect modality worklist entry",
    "113039": "because its retention expired",
}
UID: Final = re.compile(r"[0-9.]{1,64}")
"""What a row can hold; nothing else arrives by that name."""

FEW: Final = 500
"""Names that one question may hold; with more all of the study is read."""


@dataclass(frozen=True, slots=True)
class _Note:
    uid: str
    code: str
    ae_title: str
    """Who sent what is judged now: the note, or an instance that it rejects."""


def apply(session: Session, study: StudyRow, arrival: Arrival) -> None:
    """Put what a note rejects aside, and remember the rest of it until it comes."""
    code, named = arrival.rejects
    note = _Note(arrival.values["SOPInstanceUID"], code, arrival.source_ae_title)
    uids = {uid for uid in named if UID.fullmatch(uid)}
    at = now(session)
    facts = [
        {
            "study_id": study.id, "sop_instance_uid": uid, "code": code,
            "note_sop_instance_uid": note.uid, "at": at,
        }
        for uid in sorted(uids)
    ]  # fmt: skip
    insert_all_once(session, RejectedInstanceRow, facts)
    _put_aside(session, study, note, uids)


def was_rejected(session: Session, study: StudyRow, arrival: Arrival) -> bool:
    """Put an instance aside that a note rejected before it came; tells whether."""
    uid = arrival.values["SOPInstanceUID"]
    row = session.scalar(
        select(RejectedInstanceRow)
        .where(RejectedInstanceRow.study_id == study.id)
        .where(RejectedInstanceRow.sop_instance_uid == uid)
    )
    if row is None:
        return False
    note = _Note(row.note_sop_instance_uid, row.code, arrival.source_ae_title)
    _put_aside(session, study, note, {uid})
    return True


def is_image(arrival: Arrival) -> bool:
    """Tell whether an instance is one that a study can be left with."""
    values = arrival.values
    return values["Modality"] not in NOT_IMAGES and values["SOPClassUID"] != KEY_OBJECTS


def _put_aside(session: Session, study: StudyRow, note: _Note, uids: Collection[str]) -> None:
    """Put the instances of these names aside; hold the study where no image is left."""
    sentence = f"Rejected at its source {MEANINGS[note.code]}"
    found = _named(session, study, uids)
    for custody in found:
        conflicts.put_aside(session, custody, CODE, sentence, generation=study.generation)
    session.flush()
    entry = Entry(
        event=Event.PROCEDURE_RECORD, kind="study.retracted", action="U", actor=ACTOR,
        ae_title=note.ae_title, object_type="study", object_id=study.study_instance_uid,
        detail={"code": note.code, "instances": len(found), "note": note.uid},
    )  # fmt: skip
    record(session, entry)
    if found and not _is_any_left(session, study):
        study.priority, study.priority_name = 0, ""
        study.rank = study.score = None
        conflicts.hold(session, study, CODE, sentence, actor=ACTOR, subject=note.uid)


def _named(session: Session, study: StudyRow, uids: Collection[str]) -> list[CustodyRow]:
    rows = (
        select(InstanceRow.sop_instance_uid, CustodyRow)
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.study_id == study.id)
    )
    if len(uids) <= FEW:
        rows = rows.where(InstanceRow.sop_instance_uid.in_(uids))
    return [custody for uid, custody in session.execute(rows) if uid in uids]


def _is_any_left(session: Session, study: StudyRow) -> bool:
    left = (
        select(InstanceRow.id)
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.study_id == study.id, ~CustodyRow.set_aside)
        .where(InstanceRow.sop_class_uid != KEY_OBJECTS, InstanceRow.modality.not_in(NOT_IMAGES))
        .limit(1)
    )
    return session.scalar(left) is not None
