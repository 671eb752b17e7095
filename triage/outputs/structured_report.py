"""The result as a DICOM Structured Report: TID 1500 Measurement Report in Comprehensive 3D SR.

One measurement group (TID 1501) a detection, the study's result among the qualitative evaluations.
In triage mode nothing in the document points at a place: no regions, no key image.
The document is COMPLETE, UNVERIFIED and PRELIMINARY; software never verifies.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from highdicom.sr import CodedConcept, Comprehensive3DSR, ContentSequence
from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from triage.finding import Assessment, Calibration, Decision, Detection, Detector, Document, Outcome
from triage.outputs.codes import scheme
from triage.outputs.context import Predecessor, ReportContext, uid
from triage.outputs.encode import items
from triage.outputs.header import finish, first_image, identification, local, written
from triage.outputs.image_library import CONTENT, evidence, image_library
from triage.outputs.items import coded
from triage.outputs.report_check import check
from triage.outputs.report_groups import KIND, points_at_segment
from triage.outputs.report_tree import after_library, before_library, root
from triage.outputs.source import Place, Source, read
from triage.outputs.tidy import TYPE_2, quiet
from triage.settings import Reporting
from triage.study import InstanceRef, Patient, Study, StudyRef

__all__ = ["KIND", "build", "check", "warm"]

_UTF_8: Final = "ISO_IR 192"
_EVIDENCE: Final = 0x0040A375
"""Current Requested Procedure Evidence Sequence."""


def build(assessment: Assessment, context: ReportContext) -> Document:
    """Build the report of one assessment: same input, same UIDs, same bytes.

    Raises:
        Held: the study's instances disagree about the patient.
        Broken: a source file changed or is gone, a number is not finite, or the outcome is none
            that a report may state.
        TryAgain: a source file could not be read just now.
    """
    with quiet():
        content = _content(assessment, context, read(assessment))
    return Document(
        kind=KIND,
        sop_class_uid=str(Comprehensive3DSRStorage),
        sop_instance_uid=uid(context, assessment, KIND, "instance"),
        content=content,
    )


def warm() -> None:
    """Build, check and drop a made-up report: the first one of a process costs 0.3 s more."""
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
    context = ReportContext(b"warm", Reporting(), "triage", "0", datetime.now(UTC))
    header = Dataset()
    for keyword in TYPE_2:
        setattr(header, keyword, "")
    header.ReferencedRequestSequence = []
    place = Place(str(SecondaryCaptureImageStorage), "2.25.2", "2.25.3", "OT", 1, 1)
    made_up = Assessment(study, (detection,), Decision(Outcome.NOT_PRIORITISED, 0, "", ""))
    with quiet():
        content = _content(made_up, context, Source(header, "2.25.1", (place,)))
    unique = uid(context, made_up, KIND, "instance")
    check(Document(KIND, str(Comprehensive3DSRStorage), unique, content), made_up, context)


def _content(assessment: Assessment, context: ReportContext, source: Source) -> bytes:
    report = _document(assessment, context, source)
    tree = [
        items(before_library(assessment, context, source)),
        image_library(source.evidence) if assessment.detections else b"",
        items(after_library(assessment, context, source)),
    ]
    shown = [*source.evidence, *_companions(assessment, context)]
    _put(report, CONTENT, b"".join(tree))
    _put(report, _EVIDENCE, evidence(source.study_instance_uid, shown))
    # As if it had been read like this; else the encoded sequences would be taken apart again.
    report.set_original_encoding(
        is_implicit_vr=False, is_little_endian=True, character_encoding=convert_encodings(_UTF_8)
    )
    return written(report)


def _put(report: Dataset, tag: int, value: bytes) -> None:
    """Set a sequence that is encoded already."""
    report[tag] = RawDataElement(
        Tag(tag), "SQ", len(value), value, 0, is_implicit_VR=False, is_little_endian=True
    )


def _document(assessment: Assessment, context: ReportContext, source: Source) -> Comprehensive3DSR:
    """Give the report with all of its header, and a content tree to be replaced."""
    at = local(context, source)
    stump = root()
    language = coded(codes.DCM.ProcedureReported, codes.cid100.ImagingProcedure)
    stump.ContentSequence = ContentSequence([language])
    report = Comprehensive3DSR(
        evidence=[first_image(source)],
        content=stump,
        **identification(KIND, assessment, context, at),
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[scheme()],
        requested_procedures=list(source.header.ReferencedRequestSequence) or None,
        previous_versions=_previous(
            context.predecessor, uid(context, assessment, KIND, "instance")
        ),
    )
    finish(report, assessment, context, source, at)
    replaced = [CodedConcept.from_code(codes.cid7009.ReplacedReport)]
    for study in report.get("PredecessorDocumentsSequence", ()):
        for series in study.ReferencedSeriesSequence:
            for former in series.ReferencedSOPSequence:
                former.PurposeOfReferenceCodeSequence = replaced
    return report


def _companions(assessment: Assessment, context: ReportContext) -> Iterator[Place]:
    """Give the objects of ours that the tree points at."""
    because = assessment.decision.because
    if because is None or not because.map_sha256 or context.mode != "research":
        return
    kinds: list[tuple[str, Any]] = []
    if "parametric_map" in context.companions:
        kinds.append(("parametric_map", ParametricMapStorage))
    if points_at_segment(because, assessment, context):
        kinds.append(("segmentation", SegmentationStorage))
    for kind, sop_class_uid in kinds:
        series = uid(context, assessment, kind, "series")
        instance = uid(context, assessment, kind, "instance")
        yield Place(str(sop_class_uid), instance, series, "", 0, 0)


def _previous(predecessor: Predecessor | None, own: str) -> list[Dataset] | None:
    if predecessor is None or predecessor.sop_instance_uid == own:
        return None
    former = Dataset()
    former.StudyInstanceUID = predecessor.study_instance_uid
    former.SeriesInstanceUID = predecessor.series_instance_uid
    former.SOPClassUID = predecessor.sop_class_uid
    former.SOPInstanceUID = predecessor.sop_instance_uid
    return [former]
