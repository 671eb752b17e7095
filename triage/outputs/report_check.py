"""The gate in front of the structured report: read it back and look for what must be there."""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Final, cast

from highdicom.sr import Comprehensive3DSR, MeasurementReport, srread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage

from triage.errors import Broken
from triage.finding import Assessment, Document
from triage.outputs.codes import (
    ANOMALY_SCORE,
    INTENDED_USE,
    P_VALUE,
    RESULTS,
    SCHEME,
    TRIAGE_RESULT,
)
from triage.outputs.context import DISCLAIMER, RESEARCH_BANNER, ReportContext
from triage.outputs.source import is_value, quiet

_FLAGS: Final = {
    "CompletionFlag": "COMPLETE",
    "VerificationFlag": "UNVERIFIED",
    "PreliminaryFlag": "PRELIMINARY",
    "Modality": "SR",
}
_PRESENT: Final = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName", "SeriesNumber", "InstanceNumber",
    "ContentDate", "ContentTime", "ReferencedPerformedProcedureStepSequence",
    "PerformedProcedureCodeSequence", "CurrentRequestedProcedureEvidenceSequence",
    "ContributingEquipmentSequence",
)  # fmt: skip
_FORBIDDEN: Final = re.compile(r"\b(normal|negative|clear)\b", re.IGNORECASE)
"""A study that was not prioritised was not read as anything."""


def check(document: Document, assessment: Assessment, context: ReportContext) -> None:
    """Read the document back through another road; whatever is amiss, it stays here.

    Raises:
        Broken: the document must not leave. The detail says why.
    """
    with quiet():
        report = _read_back(document)
        _check_header(report, document, assessment)
        _check_evidence(report, assessment)
        _check_groups(report, assessment)
        _check_statements(report, assessment, context)


def _must(ok: object, otherwise: str) -> None:
    if not ok:
        raise Broken(code="internal", detail=f"The report may not leave: {otherwise}")


def _read_back(document: Document) -> Comprehensive3DSR:
    try:
        report = srread(BytesIO(document.content))
    except Exception as why:  # noqa: BLE001 - whatever the reader dislikes means the same
        detail = f"The report may not leave: reading it back gave {type(why).__name__}"
        raise Broken(code="internal", detail=detail) from None
    _must(isinstance(report, Comprehensive3DSR), "it is no Comprehensive 3D SR")
    return cast("Comprehensive3DSR", report)


def _check_header(report: Comprehensive3DSR, document: Document, assessment: Assessment) -> None:
    expected = {
        **_FLAGS,
        "SOPClassUID": str(Comprehensive3DSRStorage),
        "SOPInstanceUID": document.sop_instance_uid,
        "StudyInstanceUID": assessment.study.ref.study_instance_uid,
    }
    for keyword, value in expected.items():
        _must(str(report.get(keyword, "")) == value, f"{keyword} is not what it must be")
    missing = [keyword for keyword in _PRESENT if keyword not in report]
    _must(not missing, f"it lacks {', '.join(missing)}")
    same = is_value(report, "PatientID", assessment.study.patient.patient_id)
    _must(same, "PatientID is not the study's")
    title = report.content[0].name == codes.cid7021.ImagingMeasurementReport
    _must(title, "its title is not Imaging Measurement Report")
    schemes = report.get("CodingSchemeIdentificationSequence", ())
    identified = SCHEME in {item.CodingSchemeDesignator for item in schemes}
    _must(identified, "the private coding scheme is not identified")


def _check_evidence(report: Comprehensive3DSR, assessment: Assessment) -> None:
    listed = {str(instance) for _, _, instance, _ in report.get_evidence()}
    analysed = {uid for found in assessment.detections for uid in found.sop_instance_uids}
    known = {instance.sop_instance_uid for instance in assessment.study.ref.instances}
    _must(listed and listed <= known, "its evidence lists instances that are not the study's")
    _must(not analysed or listed == analysed, "its evidence is not the set of instances analysed")


def _check_groups(report: Comprehensive3DSR, assessment: Assessment) -> None:
    groups = cast("MeasurementReport", report.content).get_image_measurement_groups()
    _must(len(groups) == len(assessment.detections), "it has not one measurement group a detection")
    distinct = {str(group.tracking_uid) for group in groups}
    _must(len(distinct) == len(groups), "a Tracking Unique Identifier is not unique")
    for group, detection in zip(groups, assessment.detections, strict=True):
        for name, value in ((P_VALUE, detection.p_value), (ANOMALY_SCORE, detection.score)):
            values = [one.value for one in group.get_measurements(name=name)]
            _must(values == [value], f"{name.meaning} did not survive the round trip")


def _check_statements(
    report: Comprehensive3DSR, assessment: Assessment, context: ReportContext
) -> None:
    items = list(_walk(report))
    remarks = [
        _without_names(str(item.TextValue), assessment)
        for item in items
        if _named(item, codes.DCM.Comment)
    ]
    wanted = [DISCLAIMER, *([RESEARCH_BANNER] if context.mode == "research" else [])]
    said = [str(item.TextValue) for item in items if _named(item, INTENDED_USE)]
    _must(said == wanted, "the statement of intended use is missing")
    calls = any(_FORBIDDEN.search(text) for text in remarks)
    _must(not calls, "a comment calls the study something that only a reader may call it")
    stated = {
        str(item.ConceptCodeSequence[0].CodeValue) for item in items if _named(item, TRIAGE_RESULT)
    }
    decided = RESULTS[assessment.decision.outcome].value
    _must(stated == {decided}, "the triage result is not the decision's")
    if context.mode == "triage":
        marks = any(_points_at_a_place(item) for item in items)
        _must(not marks, "it marks a location although the mode is triage")


def _without_names(text: str, assessment: Assessment) -> str:
    """Leave out what a site may call its detectors and strata as it likes."""
    for detection in assessment.detections:
        for name in (detection.detector.name, detection.calibration.stratum):
            text = text.replace(name, "")
    return text


def _walk(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from _walk(child)


def _points_at_a_place(item: Dataset) -> bool:
    if item.ValueType in {"SCOORD", "SCOORD3D", "TCOORD"}:
        return True
    return item.ValueType == "IMAGE" and _named(item, codes.DCM.SourceOfMeasurement)


def _named(item: Dataset, concept: Code) -> bool:
    names = item.get("ConceptNameCodeSequence", ())
    return any(name.get("CodeValue") == concept.value for name in names)
