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
from triage.evidence import announcements, ended, promises

ACTOR: Final = "ingestor"
PERFORMED_STEP: Final = "1.2.840.10008.3.1.2.3.3"
REPORT: Final = "N_EVENT_REPORT"


def take(session: Session, path: Path) -> bool:
    """Write what one message in the spool says; False where it is a report on a commitment.

    Raises:
        OSError: it ends a procedure step, and cannot be kept.
    """
    told = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values
        try:
            message = pydicom.dcmread(path)
            operation, revision = _note(message)
            if operation == REPORT:
                return False
            if operation == "N_ACTION":
                promises.requested(session, message, _sender(message))
            else:
                told = _told(message, revision)
                _apply(session, told)
        except READ_ERRORS as why:
            _unreadable(session, why)
    if told is not None and told.state in announcements.ENDED:
        ended.keep(path, told.sop_instance_uid, told.study_instance_uids)
    return True


def recall(session: Session, path: Path) -> bool:
    """Write what a kept message on a step says; False where the rows know it, or it is damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values
        try:
            message = pydicom.dcmread(path)
            told = _told(message, _note(message)[1])
        except READ_ERRORS as why:
            _unreadable(session, why)
            return False
    if announcements.is_known(session, told):
        return False
    _apply(session, told)
    return True


def _unreadable(session: Session, why: Exception) -> None:
    entry = Entry(
        event=Event.SECURITY_ALERT, kind="message.unreadable", outcome=MINOR, actor=ACTOR,
        detail={"reason": f"unreadable: {type(why).__name__}"},
    )  # fmt: skip
    record(session, entry)


def _note(message: FileDataset) -> tuple[str, int]:
    """Give what the listener noted of the command; older spools hold only reports."""
    facts: dict[str, Any] = {}
    with suppress(*READ_ERRORS):
        facts = dict(json.loads(bytes(message.file_meta.PrivateInformation)))
    return str(facts.get("operation", REPORT)), int(facts.get("revision", 1))


def _sender(message: FileDataset) -> str:
    return text(message.file_meta, "SendingApplicationEntityTitle")[:16]


def _told(message: FileDataset, revision: int) -> announcements.Announcement:
    meta = message.file_meta
    uid, sender = str(meta.MediaStorageSOPInstanceUID), _sender(message)
    if meta.MediaStorageSOPClassUID == PERFORMED_STEP:
        return announcements.of_step(message, uid, sender, revision)
    return announcements.of_notification(message, uid, sender)


def _apply(session: Session, told: announcements.Announcement) -> None:
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
