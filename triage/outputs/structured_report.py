"""The result as a DICOM Structured Report: TID 1500 Measurement Report in Comprehensive 3D SR.

One measurement group (TID 1501) a detection, the study's result among the qualitative evaluations.
In triage mode nothing in the document points at a place: no regions, no key image.
The document is COMPLETE, UNVERIFIED and PRELIMINARY; software never verifies.
"""

from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Final

from highdicom.base_content import ContributingEquipment
from highdicom.sr import CodedConcept, Comprehensive3DSR
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from triage import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from triage.finding import Assessment, Calibration, Decision, Detection, Detector, Document, Outcome
from triage.outputs.codes import scheme
from triage.outputs.context import (
    MODEL_NAME,
    Predecessor,
    ReportContext,
    device_uid,
    software_uid,
    uid,
)
from triage.outputs.report_check import check
from triage.outputs.report_tree import KIND, detectors, tree
from triage.outputs.source import TYPE_2, Source, clean, quiet, read
from triage.settings import Reporting
from triage.study import InstanceRef, Patient, Study, StudyRef

__all__ = ["KIND", "build", "check", "warm"]

FIRST_SERIES_NUMBER: Final = 9700
"""Above what scanners use; the study's next free number from here on."""


def build(assessment: Assessment, context: ReportContext) -> Document:
    """Build the report of one assessment: same input, same UIDs, same bytes.

    Raises:
        Held: the study's instances disagree about the patient.
        Broken: a source file changed or is gone, a number is not finite, or the outcome is none
            that a report may state.
        TryAgain: a source file could not be read just now.
    """
    with quiet():
        report = _document(assessment, context, read(assessment))
        content = _written(report)
    return Document(
        kind=KIND,
        sop_class_uid=str(Comprehensive3DSRStorage),
        sop_instance_uid=str(report.SOPInstanceUID),
        content=content,
    )


def warm() -> None:
    """Build and drop a made-up report: the first one of a process costs 0.3 s more."""
    instance = InstanceRef("2.25.2", "", Path())
    study = Study(
        ref=StudyRef(0, "2.25.1", 1, "", (instance,)),
        patient=Patient("", "", "", "", ""),
        patient_age_years=None,
        study_date="",
        study_time="",
        study_id="",
        accession_number="",
        referring_physician_name="",
        study_description="",
        series=(),
        others=(),
    )
    detection = Detection(
        Detector("", "", "", "", ""),
        Calibration("", 0, (), ""),
        "2.25.3",
        ("2.25.2",),
        "",
        0.0,
        1.0,
    )
    decision = Decision(Outcome.NOT_PRIORITISED, 0, "", "")
    context = ReportContext(b"warm", Reporting(), "triage", "0", datetime.now(UTC))
    header, place = Dataset(), Dataset()
    for keyword in TYPE_2:
        setattr(header, keyword, "")
    header.ReferencedRequestSequence = []
    place.SOPClassUID = SecondaryCaptureImageStorage
    place.SOPInstanceUID, place.StudyInstanceUID, place.SeriesInstanceUID = (
        "2.25.2", "2.25.1", "2.25.3",
    )  # fmt: skip
    place.Modality, place.Rows, place.Columns = "OT", 1, 1
    with quiet():
        made_up = Assessment(study, (detection,), decision)
        _written(_document(made_up, context, Source(header, (place,))))


def _written(report: Comprehensive3DSR) -> bytes:
    buffer = BytesIO()
    report.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _document(assessment: Assessment, context: ReportContext, source: Source) -> Comprehensive3DSR:
    at = _local(context.now, source.header.get("TimezoneOffsetFromUTC"))
    first = Dataset()
    first.update(source.header)
    first.update(source.evidence[0])
    report = Comprehensive3DSR(
        evidence=[first, *source.evidence[1:]],
        content=tree(assessment, context, source),
        series_instance_uid=uid(context, assessment, KIND, "series"),
        series_number=_series_number(assessment.study),
        sop_instance_uid=uid(context, assessment, KIND, "instance"),
        instance_number=1,
        manufacturer=clean(context.reporting.manufacturer, 64),
        manufacturer_model_name=MODEL_NAME,
        device_serial_number=context.installation,
        software_versions=clean(context.version, 64),
        institution_name=clean(context.reporting.institution_name, 64) or None,
        series_description=_series_description(context),
        is_complete=True,
        is_final=False,
        is_verified=False,
        content_date=at.date(),
        content_time=at.time().replace(microsecond=0),
        coding_schemes=[scheme()],
        requested_procedures=list(source.header.ReferencedRequestSequence) or None,
        previous_versions=_previous(context.predecessor),
    )
    _finish(report, source)
    report.ContributingEquipmentSequence = _equipment(assessment, context, at)
    return report


def _finish(report: Comprehensive3DSR, source: Source) -> None:
    """Set what the library fills from the wall clock or with its own name."""
    report.InstanceCreationDate = report.ContentDate
    report.InstanceCreationTime = report.ContentTime
    if offset := source.header.get("TimezoneOffsetFromUTC"):
        report.TimezoneOffsetFromUTC = offset
    report.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    report.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    replaced = [CodedConcept.from_code(codes.cid7009.ReplacedReport)]
    for study in report.get("PredecessorDocumentsSequence", ()):
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                item.PurposeOfReferenceCodeSequence = replaced


def _local(now: datetime, offset: str | None) -> datetime:
    """Give the time on the study's clock: its own UTC offset, else this host's zone."""
    if not offset:
        return now.astimezone()
    sign = -1 if offset[0] == "-" else 1
    shift = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
    return now.astimezone(timezone(sign * shift))


def _series_number(study: Study) -> int:
    taken = {series.series_number for series in study.series}
    return next(
        number
        for number in range(FIRST_SERIES_NUMBER + study.ref.generation - 1, 2**31)
        if number not in taken
    )


def _series_description(context: ReportContext) -> str:
    research = "RESEARCH " if context.mode == "research" else ""
    return f"{research}Triage result, not for diagnosis"


def _previous(predecessor: Predecessor | None) -> list[Dataset] | None:
    if predecessor is None:
        return None
    former = Dataset()
    former.StudyInstanceUID = predecessor.study_instance_uid
    former.SeriesInstanceUID = predecessor.series_instance_uid
    former.SOPClassUID = predecessor.sop_class_uid
    former.SOPInstanceUID = predecessor.sop_instance_uid
    return [former]


def _equipment(
    assessment: Assessment, context: ReportContext, at: datetime
) -> list[ContributingEquipment]:
    """Give one item an algorithm (PS3.3 C.12.1.1.5), or one for the software alone."""
    made: list[tuple[str, tuple[str, ...]]] = [
        (device_uid(detector), (context.version, detector.version, detector.weights_sha256))
        for detector in detectors(assessment)
    ] or [(software_uid(context), (context.version,))]
    items = []
    for device, versions in made:
        item = ContributingEquipment(
            manufacturer=clean(context.reporting.manufacturer, 64),
            purpose_of_reference=codes.cid7005.ProcessingEquipment,
            manufacturer_model_name=MODEL_NAME,
            software_versions=[clean(version, 64) or "-" for version in versions],
            device_serial_number=context.installation,
            contribution_datetime=f"{at:%Y%m%d%H%M%S}",
            contribution_description="Anomaly triage",
        )
        item.DeviceUID = device
        items.append(item)
    return items
