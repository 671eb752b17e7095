"""Messages about instances, from the spool to rows: announcements, and requests to keep them."""

import json
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import FileDataset
from sqlalchemy.orm import Session

from db import lifecycle
from db.audit import MINOR, Entry, Event, record
from db.engine import now
from db.states import StudyState
from db.tables import StudyRow
from triage.arrival import READ_ERRORS, text
from triage.evidence import announcements, promises

ACTOR: Final = "ingestor"
PERFORMED_STEP: Final = "1.2.840.10008.3.1.2.3.3"
REPORT: Final = "N_EVENT_REPORT"


def take(session: Session, path: Path) -> bool:
    """Write what one message in the spool says; False where it is a report on a commitment."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values
        try:
            message = pydicom.dcmread(path)
            operation, revision = _note(message)
            if operation == REPORT:
                return False
            _write(session, message, operation, revision)
        except READ_ERRORS as why:
            reason = {"reason": f"unreadable: {type(why).__name__}"}
            entry = Entry(
                event=Event.SECURITY_ALERT, kind="message.unreadable", outcome=MINOR, actor=ACTOR,
                detail=reason,
            )  # fmt: skip
            record(session, entry)
    return True


def _note(message: FileDataset) -> tuple[str, int]:
    """Give what the listener noted of the command; older spools hold only reports."""
    facts: dict[str, Any] = {}
    with suppress(*READ_ERRORS):
        facts = dict(json.loads(bytes(message.file_meta.PrivateInformation)))
    return str(facts.get("operation", REPORT)), int(facts.get("revision", 1))


def _write(session: Session, message: FileDataset, operation: str, revision: int) -> None:
    meta = message.file_meta
    sender = text(meta, "SendingApplicationEntityTitle")[:16]
    uid = str(meta.MediaStorageSOPInstanceUID)
    if operation == "N_ACTION":
        promises.requested(session, message, sender)
        return
    if meta.MediaStorageSOPClassUID == PERFORMED_STEP:
        told = announcements.of_step(message, uid, sender, revision)
    else:
        told = announcements.of_notification(message, uid, sender)
    for study in announcements.save(session, told):
        if not announcements.object_to(session, study):
            _hurry(session, study, told)
    _audit(session, told)


def _hurry(session: Session, study: StudyRow, told: announcements.Announcement) -> None:
    """Look at a study at once that an announcement may complete."""
    known = announcements.of_study(session, study.study_instance_uid)
    is_open = any(one.state == announcements.IN_PROGRESS for one in known)
    all_here = not any(one.missing for one in known)
    if study.state == StudyState.RECEIVING and told.instances and all_here and not is_open:
        lifecycle.touch(session, study, due_at=now(session))


def _audit(session: Session, told: announcements.Announcement) -> None:
    for uid in told.study_instance_uids:
        entry = Entry(
            event=Event.PROCEDURE_RECORD, kind=f"study.announced.{told.kind}", action="U",
            actor=ACTOR, ae_title=told.ae_title, object_type="study", object_id=uid,
            detail={
                "sop_instance_uid": told.sop_instance_uid, "state": told.state,
                "instances": len(told.instances), "reason": told.reason_code,
            },
        )  # fmt: skip
        record(session, entry)
