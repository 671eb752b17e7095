"""The gate in front of the structured report: read it back and look for what must be there."""

import re
from collections.abc import Iterator
from typing import Any, Final, cast

from highdicom.sr import Comprehensive3DSR, MeasurementReport, srread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from triage.finding import Assessment, Detection, Document
from triage.outputs.codes import (
    ANOMALY_SCORE,
    INTENDED_USE,
    P_VALUE,
    QUALITATIVE_EVALUATIONS,
    REASON_NAMES,
    RESULTS,
    SCHEME,
    TRIAGE_RESULT,
    run_summary,
    why,
)
from triage.outputs.context import DISCLAIMER, RESEARCH_BANNER, ReportContext
from triage.outputs.gate import check_header, must, read_back
from triage.outputs.tidy import quiet

_FLAGS: Final = {
    "CompletionFlag": "COMPLETE",
    "VerificationFlag": "UNVERIFIED",
    "PreliminaryFlag": "PRELIMINARY",
    "Modality": "SR",
}
_PRESENT: Final = (
    "ContentDate", "ContentTime", "ReferencedPerformedProcedureStepSequence",
    "PerformedProcedureCodeSequence", "CurrentRequestedProcedureEvidenceSequence",
    *_FLAGS,
)  # fmt: skip
_FORBIDDEN: Final = re.compile(r"\b(normal|negative|clear)\b", re.IGNORECASE)
"""A study that was not prioritised was not read as anything."""
_PLACES: Final = frozenset({"SCOORD", "SCOORD3D", "TCOORD"})
_GROUP: Final = ("TrackingIdentifier", "TrackingUniqueIdentifier", "AlgorithmName",
                 "AlgorithmVersion", "AlgorithmParameters")  # fmt: skip
"""What each measurement group says, once or more (TID 1501, 4019)."""


def check(document: Document, assessment: Assessment, context: ReportContext) -> None:
    """Read the document back through another road; whatever is amiss, it stays here.

    Raises:
        Broken: the document must not leave. The detail says why.
    """
    with quiet():
        report = cast("Comprehensive3DSR", read_back(document, srread))
        must(isinstance(report, Comprehensive3DSR), "it is no Comprehensive 3D SR")
        check_header(report, document, assessment, _PRESENT)
        _check_document(report)
        items = list(_walk(report))
        _check_root(report)
        _check_references(report, items, assessment)
        _check_groups(report, assessment)
        _check_statements(items, assessment, context)


def _check_document(report: Comprehensive3DSR) -> None:
    for keyword, value in _FLAGS.items():
        must(report[keyword].value == value, f"{keyword} is not what it must be")
    schemes = report.get("CodingSchemeIdentificationSequence", ())
    identified = SCHEME in {item.CodingSchemeDesignator for item in schemes}
    must(identified, "the private coding scheme is not identified")


def _check_root(report: Comprehensive3DSR) -> None:
    """TID 1500: its title, language, observer, procedure and at least one of the containers."""
    title = report.content[0].name == codes.cid7021.ImagingMeasurementReport
    must(title, "its title is not Imaging Measurement Report")
    children = list(report.ContentSequence)
    for name, what in (
        (codes.DCM.LanguageOfContentItemAndDescendants, "language"),
        (codes.DCM.DeviceObserverUID, "device observer"),
        (codes.DCM.ProcedureReported, "procedure reported"),
        (QUALITATIVE_EVALUATIONS, "container of evaluations"),
    ):
        must(any(_named(child, name) for child in children), f"it has no {what}")


def _check_references(
    report: Comprehensive3DSR, items: list[Dataset], assessment: Assessment
) -> None:
    """Hold the evidence against what was analysed, and the tree's references against it."""
    listed = {str(instance) for _, _, instance, _ in report.get_evidence()}
    known = {instance.sop_instance_uid for instance in assessment.study.ref.instances}
    analysed = {uid for found in assessment.detections for uid in found.sop_instance_uids}
    must(bool(listed & known), "its evidence lists no instance of the study")
    complete = not analysed or listed & known == analysed
    must(complete, "its evidence is not the set of instances analysed")
    shown = {
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in items
        if item.ValueType == "IMAGE"
    }
    must(shown <= listed, "it points at what its evidence does not list")
    must(listed <= known | shown, "its evidence lists instances that are not the study's")
    must(analysed <= shown, "its image library is not the set of instances analysed")


def _check_groups(report: Comprehensive3DSR, assessment: Assessment) -> None:
    content = cast("MeasurementReport", report.content)
    read: list[Any] = list(content.get_image_measurement_groups())
    if len(read) < len(assessment.detections):
        read += content.get_volumetric_roi_measurement_groups()
    found = [one[0] for one in read]
    must(len(found) == len(assessment.detections), "it has not one measurement group a detection")
    by_uid = {str(_value(group, "TrackingUniqueIdentifier")): group for group in found}
    must(len(by_uid) == len(found), "a Tracking Unique Identifier is not unique")
    groups = [group for group in _containers(report) if group.ValueType == "CONTAINER"]
    for group, detection in zip(groups, assessment.detections, strict=True):
        _check_group(group, detection)


def _containers(report: Comprehensive3DSR) -> Iterator[Dataset]:
    for child in report.ContentSequence:
        if _named(child, codes.DCM.ImagingMeasurements):
            yield from child.ContentSequence


def _check_group(group: Dataset, detection: Detection) -> None:
    for keyword in _GROUP:
        must(_value(group, keyword), f"a measurement group has no {keyword}")
    parameters = {
        str(item.TextValue)
        for item in group.ContentSequence
        if _named(item, codes.DCM.AlgorithmParameters)
    }
    weights = f"weights sha256: {detection.detector.weights_sha256}".strip()
    must(weights in parameters, "a measurement group does not name the weights")
    for name, value in ((P_VALUE, detection.p_value), (ANOMALY_SCORE, detection.score)):
        values = [
            float(item.MeasuredValueSequence[0].FloatingPointValue)
            for item in group.ContentSequence
            if item.ValueType == "NUM" and _named(item, name)
        ]
        must(values == [value], f"{name.meaning} did not survive the round trip")


def _value(group: Dataset, keyword: str) -> object:
    name = getattr(codes.DCM, keyword)
    item = next((one for one in group.ContentSequence if _named(one, name)), None)
    if item is None:
        return None
    return item.UID if item.ValueType == "UIDREF" else item.TextValue


def _check_statements(items: list[Dataset], assessment: Assessment, context: ReportContext) -> None:
    remarks = [
        _without_names(str(item.TextValue), assessment)
        for item in items
        if _named(item, codes.DCM.Comment)
    ]
    wanted = [DISCLAIMER, *([RESEARCH_BANNER] if context.mode == "research" else [])]
    said = [str(item.TextValue) for item in items if _named(item, INTENDED_USE)]
    must(said == wanted, "the statement of intended use is missing")
    calls = any(_FORBIDDEN.search(text) for text in remarks)
    must(not calls, "a comment calls the study something that only a reader may call it")
    decision = assessment.decision
    summary = codes.DCM.CADProcessingAndFindingsSummary
    for name, value, what in (
        (TRIAGE_RESULT, RESULTS[decision.outcome], "the triage result is not the decision's"),
        (summary, run_summary(assessment), "the summary of the run is not the assessment's"),
    ):
        must(_codes_of(items, name) == {value.value}, what)
    if decision.reason is not None:
        stated = _codes_of(items, REASON_NAMES[decision.outcome])
        must(why(decision.reason).value in stated, "the coded reason is missing")
    if context.mode == "triage":
        must(not any(map(points_at_a_place, items)), "it marks a location in triage mode")


def points_at_a_place(item: Dataset) -> bool:
    """Tell whether a content item says where: a region, a segment, one image among others."""
    if item.ValueType in _PLACES:
        return True
    return item.ValueType == "IMAGE" and not _named(item, codes.SCT.Source)


def _codes_of(items: list[Dataset], name: Code) -> set[str]:
    return {str(item.ConceptCodeSequence[0].CodeValue) for item in items if _named(item, name)}


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


def _named(item: Dataset, concept: Code) -> bool:
    names = item.get("ConceptNameCodeSequence", ())
    return any(name.get("CodeValue") == concept.value for name in names)
