"""A modality and a PACS as they speak of what they did: MPPS, IAN and Storage Commitment."""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.association import Association

from triage import commitment

MPPS = "1.2.840.10008.3.1.2.3.3"
IAN = "1.2.840.10008.5.1.4.33"
CT = "1.2.840.10008.5.1.4.1.1.2"
Named = Mapping[str, Sequence[str]]
"""Series Instance UID -> SOP Instance UIDs."""


@contextmanager
def speaking(
    port: int,
    *classes: str,
    ae_title: str = "CT1",
    called: str = "TRIAGE",
    tls: ssl.SSLContext | None = None,
) -> Iterator[Association]:
    """Hold an association for these SOP classes, all three by default."""
    ae = AE(ae_title=ae_title)
    for uid in classes or (MPPS, IAN, commitment.SOP_CLASS):
        ae.add_requested_context(uid, ExplicitVRLittleEndian)
    over = (tls, "localhost") if tls is not None else None
    association = ae.associate("127.0.0.1", port, ae_title=called, tls_args=over)
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def beginning(study: str, modality: str = "CT") -> Dataset:
    """The attributes of an N-CREATE, with a patient in them."""
    step = Dataset()
    scheduled = Dataset()
    scheduled.StudyInstanceUID, scheduled.AccessionNumber = study, ""
    step.ScheduledStepAttributesSequence = [scheduled]
    step.PatientName, step.PatientID = "Canary^Step", "CANARY-ID"
    step.PerformedProcedureStepID = "STEP1"
    step.PerformedStationAETitle, step.PerformedStationName = "CT1", "ROOM 1"
    step.PerformedProcedureStepStartDate = "20261121"
    step.PerformedProcedureStepStartTime = "101500"
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    step.Modality = modality
    step.PerformedSeriesSequence = []
    return step


def ending(named: Named, status: str = "COMPLETED", reason: str = "") -> Dataset:
    """The modifications of a final N-SET."""
    step = Dataset()
    step.PerformedProcedureStepStatus = status
    step.PerformedProcedureStepEndDate = "20261121"
    step.PerformedProcedureStepEndTime = "102000"
    step.PerformedSeriesSequence = [_performed(*one) for one in named.items()]
    if reason:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = reason, "DCM", "because"
        step.PerformedProcedureStepDiscontinuationReasonCodeSequence = [code]
    return step


def notification(study: str, named: Named, availability: str = "ONLINE") -> Dataset:
    """The attributes of an Instance Availability Notification."""
    told = Dataset()
    told.StudyInstanceUID = study
    told.ReferencedPerformedProcedureStepSequence = []
    told.ReferencedSeriesSequence = []
    for series, uids in named.items():
        item = Dataset()
        item.SeriesInstanceUID = series
        item.ReferencedSOPSequence = [reference(uid) for uid in uids]
        for one in item.ReferencedSOPSequence:
            one.InstanceAvailability, one.RetrieveAETitle = availability, "PACS"
        told.ReferencedSeriesSequence.append(item)
    return told


def reference(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, uid
    return item


def perform(port: int, study: str, named: Named, *, modality: str = "CT", **end: str) -> str:
    """Begin and end a step; gives its UID."""
    uid = str(generate_uid())
    with speaking(port, MPPS) as association:
        assert create(association, uid, beginning(study, modality)) == 0x0000
        assert set_(association, uid, ending(named, **end)) == 0x0000
    return uid


def notify(port: int, study: str, named: Named) -> None:
    with speaking(port, IAN, ae_title="PACS") as association:
        answer, _ = association.send_n_create(notification(study, named), IAN, generate_uid())
        assert answer.Status == 0x0000


def create(association: Association, uid: str | None, given: Dataset) -> int:
    answer, _ = association.send_n_create(given, MPPS, uid)
    return int(answer.Status)


def set_(association: Association, uid: str, given: Dataset) -> int:
    answer, _ = association.send_n_set(given, MPPS, uid)
    return int(answer.Status)


def ask(association: Association, transaction: str, *uids: str) -> int:
    """Ask for Storage Commitment of CT images."""
    answer, _ = association.send_n_action(
        commitment.request(transaction, [(CT, uid) for uid in uids]),
        commitment.REQUEST,
        commitment.SOP_CLASS,
        commitment.SOP_INSTANCE,
    )
    return int(answer.Status)


def _performed(series: str, uids: Sequence[str]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = series
    item.ProtocolName, item.SeriesDescription = "HEAD", "AXIAL"
    item.ReferencedImageSequence = [reference(uid) for uid in uids]
    item.ReferencedNonImageCompositeSOPInstanceSequence = []
    return item
