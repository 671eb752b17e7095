"""Work items as a requester makes them, and what a performer says of its deed."""

from itertools import count

from pydicom.dataset import Dataset

from triage.ups.rows import Asker, code_item

NUMBERS = count(1)
STAMP = "20260101120000"
EVERYBODY = Asker("tester", frozenset({"requester", "performer", "watcher"}), "TESTER")


def uid() -> str:
    return f"2.25.77{next(NUMBERS)}"


def new_item(**given: object) -> Dataset:
    """Give what N-CREATE sends."""
    item, study = Dataset(), str(given.get("StudyInstanceUID", "1.2.3"))
    item.ProcedureStepState = "SCHEDULED"
    item.ScheduledProcedureStepPriority = "HIGH"
    item.ProcedureStepLabel = "Look for what is unusual"
    item.WorklistLabel = "AI"
    item.InputReadinessState = "READY"
    item.ScheduledProcedureStepStartDateTime = STAMP
    item.ScheduledWorkitemCodeSequence = [code_item("110004", "DCM", "Computer Aided Detection")]
    item.PatientID, item.PatientName = "P1", "Doe^Jörg"
    item.StudyInstanceUID = study
    item.InputInformationSequence = [reference(study)]
    for keyword, value in given.items():
        setattr(item, keyword, value)
    return item


def reference(study: str) -> Dataset:
    """Give one item of Input Information Sequence."""
    instance, place = Dataset(), Dataset()
    instance.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    instance.ReferencedSOPInstanceUID = f"{study}.1"
    place.TypeOfInstances = "DICOM"
    place.StudyInstanceUID, place.SeriesInstanceUID = study, f"{study}.2"
    place.ReferencedSOPSequence = [instance]
    return place


def progress(percent: str = "50") -> Dataset:
    told, change = Dataset(), Dataset()
    told.ProcedureStepProgress = percent
    change.ProcedureStepProgressInformationSequence = [told]
    return change


def performed() -> Dataset:
    """Give what makes an item ready to be COMPLETED."""
    told, change = Dataset(), Dataset()
    told.PerformedStationNameCodeSequence = [code_item("ST1", "99TEST", "Station 1")]
    told.PerformedWorkitemCodeSequence = [code_item("110004", "DCM", "Computer Aided Detection")]
    told.PerformedProcedureStepStartDateTime = STAMP
    told.PerformedProcedureStepEndDateTime = STAMP
    told.OutputInformationSequence = [reference("1.2.3")]
    change.UnifiedProcedureStepPerformedProcedureSequence = [told]
    return change


def stopped() -> Dataset:
    """Give what makes an item ready to be CANCELED."""
    told, change = Dataset(), Dataset()
    told.ProcedureStepCancellationDateTime = STAMP
    told.ProcedureStepDiscontinuationReasonCodeSequence = [
        code_item("110524", "DCM", "Media Failure")
    ]
    change.ProcedureStepProgressInformationSequence = [told]
    return change


def of_state(state: str, transaction: str = "") -> Dataset:
    """Give the action information of Change UPS State."""
    told = Dataset()
    told.ProcedureStepState = state
    told.TransactionUID = transaction
    return told
