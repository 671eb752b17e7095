"""Rejection notes (IHE IOCM): what a source takes back is analysed no more, and its flag is gone.

Bytes, rows and audit stay. Where all images of a study are taken back it is held; where some are,
it is assembled again without them, as a new generation.
"""

from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db import conflicts
from db.audit import Entry, Event, record
from db.custody import CustodyRow
from db.engine import now
from db.evidence import RejectedInstanceRow
from db.tables import InstanceRow, StudyRow
from db.upsert import insert_once
from triage.arrival import KEY_OBJECTS, Arrival

ACTOR: Final = "ingestor"
CODE: Final = "retracted"
MEANINGS: Final = {
    "113001": "for quality reasons",
    "113037": "for patient safety reasons",
    "113038": "for an incorrect modality worklist entry",
    "113039": "because its retention expired",
}


def apply(session: Session, study: StudyRow, arrival: Arrival) -> None:
    """Put what a note rejects aside; hold the study where no image is left."""
    code, uids = arrival.rejects
    sentence = f"Rejected at its source {MEANINGS[code]}"
    found = session.execute(
        select(InstanceRow, CustodyRow)
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.study_id == study.id, InstanceRow.sop_instance_uid.in_(uids))
    ).all()
    note = arrival.values["SOPInstanceUID"]
    for instance, custody in found:
        facts = {
            "study_id": study.id, "sop_instance_uid": instance.sop_instance_uid, "code": code,
            "note_sop_instance_uid": note, "at": now(session),
        }  # fmt: skip
        insert_once(session, RejectedInstanceRow, facts)
        conflicts.put_aside(session, custody, CODE, sentence, generation=study.generation)
    session.flush()
    entry = Entry(
        event=Event.PROCEDURE_RECORD, kind="study.retracted", action="U", actor=ACTOR,
        ae_title=arrival.source_ae_title, object_type="study",
        object_id=study.study_instance_uid,
        detail={"code": code, "instances": len(found), "note": note},
    )  # fmt: skip
    record(session, entry)
    if found and not _is_any_left(session, study):
        study.priority, study.priority_name = 0, ""
        study.rank = study.score = None
        conflicts.hold(session, study, CODE, sentence, actor=ACTOR, subject=note)


def _is_any_left(session: Session, study: StudyRow) -> bool:
    left = (
        select(func.count())
        .select_from(InstanceRow)
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.study_id == study.id, ~CustodyRow.set_aside)
        .where(InstanceRow.sop_class_uid != KEY_OBJECTS)
    )
    return bool(session.scalar(left))
