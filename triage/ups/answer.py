"""What a study of ours says to the work item that asked for it: progress, results, or why not."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine import now
from db.states import StudyState
from db.tables import InstanceRow, OutboxRow, StudyRow
from db.ups import ClaimRow
from triage.destinations import Common, Dimse, Stow
from triage.errors import REASONS
from triage.ups.rows import code_item
from triage.ups.words import UNSPECIFIED, State

SCHEME: Final = "99TRIAGE"
DETECTION: Final = Code("110004", "DCM", "Computer Aided Detection")
STAGES: Final[Mapping[StudyState, tuple[str, str]]] = {
    StudyState.RECEIVING: ("10", "receiving instances"),
    StudyState.READY: ("30", "waiting for analysis"),
    StudyState.ANALYSED: ("80", "waiting for delivery"),
}
"""Procedure Step Progress in percent, and its description."""
NOT_ANALYSED: Final = "not analysed"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is to be written into an item, and the state it then comes to."""

    change: Dataset
    state: State
    told: str
    """In one word or two, for the claim's row."""


def answer(
    session: Session, claim_id: int, destinations: Mapping[str, Common], station: str
) -> Answer:
    """Give what a claim's study says now."""
    claim = session.get_one(ClaimRow, claim_id)
    study = session.get_one(StudyRow, claim.study_id)
    at = now(session)
    if claim.cancel_asked and study.state in STAGES:
        return stopped(UNSPECIFIED, "Canceled as requested", at)
    if study.state in STAGES:
        return _progress(*STAGES[study.state])
    if study.state == StudyState.DELIVERED and study.outcome != NOT_ANALYSED:
        outputs = list(_outputs(session, study, destinations))
        return _completed(claim.started_at or at, study.settled_at or at, outputs, station)
    code, text = study.reason_code or "", study.reason_detail or study.outcome
    value, meaning = REASONS[code].dicom if code in REASONS else UNSPECIFIED[::2]
    return stopped(Code(value, "DCM", meaning), text, at)


def stopped(reason: Code, text: str, at: datetime) -> Answer:
    """Give what is said of work that ended without a result."""
    told = Dataset()
    told.ProcedureStepCancellationDateTime = _stamp(at)
    told.ReasonForCancellation = text[:1024]
    told.ProcedureStepDiscontinuationReasonCodeSequence = [code_item(*reason[:3])]
    change = Dataset()
    change.ProcedureStepProgressInformationSequence = [told]
    return Answer(change, State.CANCELED, text)


def input_study(item: Dataset) -> str:
    """Give the study that an item is about: its own, else its first input's."""
    named = str(item.get("StudyInstanceUID") or "")
    inputs = [str(one.get("StudyInstanceUID") or "") for one in _inputs(item)]
    return named or next(filter(None, inputs), "")


def holds(session: Session, study: StudyRow, item: Dataset) -> bool:
    """Tell whether every instance that the item names of the study is here, or may yet come."""
    named = {
        str(one.get("ReferencedSOPInstanceUID") or "")
        for part in _inputs(item)
        if str(part.get("StudyInstanceUID") or "") == study.study_instance_uid
        for one in part.get("ReferencedSOPSequence") or ()
    } - {""}
    return study.state == StudyState.RECEIVING or not _missing(session, study.id, named)


def _missing(session: Session, study_id: int, uids: Collection[str]) -> set[str]:
    held = select(InstanceRow.sop_instance_uid).where(InstanceRow.study_id == study_id)
    return set(uids) - set(session.scalars(held))


def _inputs(item: Dataset) -> Sequence[Dataset]:
    found: Sequence[Dataset] = item.get("InputInformationSequence") or ()
    return found


def _progress(percent: str, description: str) -> Answer:
    told = Dataset()
    told.ProcedureStepProgress = percent
    told.ProcedureStepProgressDescription = description
    change = Dataset()
    change.ProcedureStepProgressInformationSequence = [told]
    return Answer(change, State.IN_PROGRESS, description)


def _completed(
    started: datetime, ended: datetime, outputs: Iterable[Dataset], station: str
) -> Answer:
    """Give what the final state asks for (PS3.4 CC.2.5.1.1), with every object delivered."""
    told = Dataset()
    told.PerformedStationNameCodeSequence = [code_item(station, SCHEME, station)]
    told.PerformedWorkitemCodeSequence = [code_item(*DETECTION[:3])]
    told.PerformedProcedureStepStartDateTime = _stamp(min(started, ended))
    told.PerformedProcedureStepEndDateTime = _stamp(ended)
    told.OutputInformationSequence = list(outputs)
    done = Dataset()
    done.ProcedureStepProgress = "100"
    change = Dataset()
    change.UnifiedProcedureStepPerformedProcedureSequence = [told]
    change.ProcedureStepProgressInformationSequence = [done]
    return Answer(change, State.COMPLETED, "delivered")


def _outputs(
    session: Session, study: StudyRow, destinations: Mapping[str, Common]
) -> Iterable[Dataset]:
    """Give one item a delivered object and place (Table 10-3c): DICOM objects only."""
    rows = session.scalars(
        select(OutboxRow)
        .where(OutboxRow.study_id == study.id, OutboxRow.generation == study.generation)
        .where(OutboxRow.sent_at.is_not(None), OutboxRow.sop_class_uid != "")
        .where(OutboxRow.purged_at.is_(None))
        .order_by(OutboxRow.id)
    )
    for row in rows:
        to = destinations.get(row.destination)
        if not isinstance(to, Dimse | Stow):
            continue
        header = pydicom.dcmread(BytesIO(row.content), specific_tags=["SeriesInstanceUID"])
        instance, place = Dataset(), Dataset()
        instance.ReferencedSOPClassUID = row.sop_class_uid
        instance.ReferencedSOPInstanceUID = row.sop_instance_uid
        place.TypeOfInstances = "DICOM"
        place.StudyInstanceUID = study.study_instance_uid
        place.SeriesInstanceUID = str(header.SeriesInstanceUID)
        place.ReferencedSOPSequence = [instance]
        _where(place, to)
        yield place


def _where(place: Dataset, to: Dimse | Stow) -> None:
    found = Dataset()
    if isinstance(to, Dimse):
        found.RetrieveAETitle = to.ae_title
        place.DICOMRetrievalSequence = [found]
    else:
        found.RetrieveURL = f"{to.url}/studies/{place.StudyInstanceUID}"
        place.WADORSRetrievalSequence = [found]


def _stamp(at: datetime) -> str:
    return f"{at:%Y%m%d%H%M%S}+0000"
