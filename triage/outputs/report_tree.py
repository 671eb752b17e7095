"""The content tree of the structured report: TID 1500, 1501, 1600 and 4019 of PS3.16."""

import math
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
    UIDRefContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from triage.errors import REASONS, Broken
from triage.finding import Assessment, Detection, Detector
from triage.outputs.codes import (
    ANOMALY_SCORE,
    ENGLISH,
    INTENDED_USE,
    P_VALUE,
    PRIORITY,
    QUALITATIVE_EVALUATIONS,
    RESULTS,
    RUN_SUMMARY,
    TRIAGE_RESULT,
    WHY_NOT,
    modality,
    procedure,
)
from triage.outputs.context import (
    DISCLAIMER,
    MODEL_NAME,
    RESEARCH_BANNER,
    ReportContext,
    device_uid,
    software_uid,
    uid,
)
from triage.outputs.source import Source, clean

KIND: Final = "structured_report"
_CONTAINS: Final = RelationshipTypeValues.CONTAINS
_PIXELS: Final = Code("{pixels}", "UCUM", "pixels")
_CONTEXT: Final = RelationshipTypeValues.HAS_ACQ_CONTEXT


def tree(assessment: Assessment, context: ReportContext, source: Source) -> ContainerContentItem:
    """Build the root container with everything in it.

    Raises:
        Broken: a score is not finite, a p-value is outside (0, 1], or the outcome is none that a
            report may state.
    """
    content = ContentSequence()
    content.extend(LanguageOfContentItemAndDescendants(CodedConcept.from_code(ENGLISH)))
    content.extend(_observers(assessment, context))
    content.append(
        CodeContentItem(
            name=codes.DCM.ProcedureReported,
            value=procedure(source.header, str(source.evidence[0].Modality)),
            relationship_type=RelationshipTypeValues.HAS_CONCEPT_MOD,
        )
    )
    if assessment.detections:
        content.append(_image_library(source))
        content.append(_measurements(assessment, context, source))
    content.append(_evaluations(assessment, context))
    root = ContainerContentItem(name=codes.cid7021.ImagingMeasurementReport, template_id="1500")
    root.ContentSequence = content
    return root


def detectors(assessment: Assessment) -> tuple[Detector, ...]:
    """Give each detector once, in the order it spoke."""
    return tuple(dict.fromkeys(detection.detector for detection in assessment.detections))


def _observers(assessment: Assessment, context: ReportContext) -> ObservationContext:
    """TID 1001 and 1004: one device an artifact, or the software where none spoke."""
    devices = [
        (device_uid(detector), clean(f"{detector.name} {detector.version}"))
        for detector in detectors(assessment)
    ] or [(software_uid(context), clean(f"{MODEL_NAME} {context.version}"))]
    contexts = [
        ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=of_device,
                name=name,
                manufacturer_name=clean(context.reporting.manufacturer),
                model_name=MODEL_NAME,
                serial_number=context.installation,
            ),
        )
        for of_device, name in devices
    ]
    observation = ObservationContext(observer_device_context=contexts[0])
    for other in contexts[1:]:
        observation.extend(other)
    return observation


def _image_library(source: Source) -> ContainerContentItem:
    """TID 1600: every image analysed, grouped by what TID 1602 says of them in common."""
    library = ContainerContentItem(name=codes.DCM.ImageLibrary, relationship_type=_CONTAINS)
    library.ContentSequence = ContentSequence()
    for _, images in groupby(source.evidence, key=_shared):
        group = ContainerContentItem(name=codes.DCM.ImageLibraryGroup, relationship_type=_CONTAINS)
        members = list(images)
        group.ContentSequence = ContentSequence([*_descriptors(members[0]), *map(_image, members)])
        library.ContentSequence.append(group)
    return library


def _shared(image: Dataset) -> tuple[str, ...]:
    return tuple(
        str(image[keyword].value)
        for keyword in ("SeriesInstanceUID", "Modality", "Rows", "Columns")
    )


def _descriptors(image: Dataset) -> Iterator[ContentItem]:
    """TID 1602, of a whole group."""
    yield CodeContentItem(
        name=codes.DCM.Modality, value=modality(str(image.Modality)), relationship_type=_CONTEXT
    )
    yield UIDRefContentItem(
        name=codes.DCM.SeriesInstanceUID,
        value=str(image.SeriesInstanceUID),
        relationship_type=_CONTEXT,
    )
    for name, value in (
        (codes.DCM.PixelDataRows, image.Rows),
        (codes.DCM.PixelDataColumns, image.Columns),
    ):
        yield NumContentItem(name=name, value=int(value), unit=_PIXELS, relationship_type=_CONTEXT)


def _image(image: Dataset) -> ImageContentItem:
    return ImageContentItem(
        name=codes.SCT.Source,
        referenced_sop_class_uid=str(image.SOPClassUID),
        referenced_sop_instance_uid=str(image.SOPInstanceUID),
        relationship_type=_CONTAINS,
    )


def _measurements(
    assessment: Assessment, context: ReportContext, source: Source
) -> ContainerContentItem:
    container = ContainerContentItem(
        name=codes.DCM.ImagingMeasurements, relationship_type=_CONTAINS
    )
    container.ContentSequence = ContentSequence()
    for number, detection in enumerate(assessment.detections, start=1):
        container.ContentSequence.extend(
            MeasurementsAndQualitativeEvaluations(
                tracking_identifier=TrackingIdentifier(
                    uid=uid(context, assessment, KIND, f"tracking {number}"),
                    identifier=clean(f"{detection.detector.name}, series {number}"),
                ),
                algorithm_id=_algorithm(assessment, detection, context),
                measurements=_numbers(detection),
                qualitative_evaluations=[
                    QualitativeEvaluation(
                        name=codes.DCM.SummaryOfDetections, value=codes.cid6042.Succeeded
                    ),
                    QualitativeEvaluation(name=TRIAGE_RESULT, value=_result(assessment)),
                ],
                source_images=_key_image(detection, source) if context.mode == "research" else None,
            )
        )
    return container


def _algorithm(
    assessment: Assessment, detection: Detection, context: ReportContext
) -> AlgorithmIdentification:
    """TID 4019, with everything that could have changed the numbers among the parameters."""
    detector, calibration = detection.detector, detection.calibration
    parameters = {
        "family": detector.family,
        "weights sha256": detector.weights_sha256,
        "artifact sha256": detector.artifact_sha256,
        "calibration stratum": calibration.stratum,
        "calibration n": str(calibration.n),
        "calibration fallback from": ", ".join(calibration.fallback) or "none",
        "calibration sha256": calibration.sha256,
        "series": detection.series_instance_uid,
        "images analysed": str(len(detection.sop_instance_uids)),
        "study complete by": assessment.study.ref.evidence,
        "study generation": str(assessment.study.ref.generation),
        "intended use mode": context.mode,
    }
    return AlgorithmIdentification(
        name=clean(detector.name),
        version=clean(detector.version),
        manufacturer=clean(context.reporting.manufacturer),
        family=codes.cid7162.ArtificialIntelligence,
        parameters=[clean(f"{name}: {value}") for name, value in parameters.items()],
    )


def _numbers(detection: Detection) -> list[Measurement]:
    if not math.isfinite(detection.score):
        raise Broken(code="internal", detail="A detector's score is not a finite number")
    if not 0.0 < detection.p_value <= 1.0:
        raise Broken(code="internal", detail="A p-value is outside (0, 1]")
    return [
        Measurement(name=ANOMALY_SCORE, value=float(detection.score), unit=codes.UCUM.NoUnits),
        Measurement(name=P_VALUE, value=float(detection.p_value), unit=codes.UCUM.NoUnits),
    ]


def _key_image(detection: Detection, source: Source) -> list[SourceImageForMeasurementGroup]:
    """Point at the strangest image: a location mark, so in research mode only."""
    return [
        SourceImageForMeasurementGroup(
            referenced_sop_class_uid=str(image.SOPClassUID),
            referenced_sop_instance_uid=str(image.SOPInstanceUID),
        )
        for image in source.evidence
        if image.SOPInstanceUID == detection.key_sop_instance_uid
    ]


def _evaluations(assessment: Assessment, context: ReportContext) -> ContainerContentItem:
    """TID 1500 rows 12 to 14: the study's result, how the run went, and what it is not for."""
    decision = assessment.decision
    result = _result(assessment)
    items: list[ContentItem] = [
        _code(TRIAGE_RESULT, result),
        _code(codes.DCM.CADProcessingAndFindingsSummary, RUN_SUMMARY[decision.outcome]),
    ]
    if not assessment.detections:
        items.append(_code(codes.DCM.SummaryOfDetections, codes.cid6042.NotAttempted))
    if decision.reason is not None:
        value, meaning = REASONS[decision.reason.code].dicom
        items.append(_code(WHY_NOT, Code(value, "DCM", meaning)))
        items.append(_text(codes.DCM.Comment, str(decision.reason)))
    if decision.priority_name:
        items.append(_text(PRIORITY, decision.priority_name))
    items.append(_text(codes.DCM.Comment, decision.sentence))
    items.append(_text(INTENDED_USE, DISCLAIMER))
    if context.mode == "research":
        items.append(_text(INTENDED_USE, RESEARCH_BANNER))
    container = ContainerContentItem(name=QUALITATIVE_EVALUATIONS, relationship_type=_CONTAINS)
    container.ContentSequence = ContentSequence(items)
    return container


def _result(assessment: Assessment) -> Code:
    outcome = assessment.decision.outcome
    if outcome not in RESULTS:
        raise Broken(code="internal", detail=f"No report states the outcome {outcome.value!r}")
    return RESULTS[outcome]


def _code(name: Code, value: Code) -> CodeContentItem:
    return CodeContentItem(name=name, value=value, relationship_type=_CONTAINS)


def _text(name: Code, text: str) -> TextContentItem:
    return TextContentItem(name=name, value=clean(text, 1024) or "-", relationship_type=_CONTAINS)
