"""The measurement groups of the structured report: TID 1501, 1411, 4019 and 300 of PS3.16."""

import math
from functools import lru_cache
from typing import Final

from highdicom.sr import (
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    RelationshipTypeValues,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ParametricMapStorage, SegmentationStorage

from triage.errors import Broken
from triage.finding import Assessment, Calibration, Detection, Detector
from triage.outputs.codes import (
    ABOVE_THRESHOLD,
    ANOMALY_SCORE,
    BELOW_THRESHOLD,
    DETECTION_RESULT,
    FINDING_CATEGORY,
    P_VALUE,
    SUCCEEDED,
    region,
)
from triage.outputs.context import ReportContext, uid
from triage.outputs.items import (
    CONTAINS,
    MODIFIER,
    OBSERVER,
    coded,
    concept,
    counted,
    pointed,
    said,
)
from triage.outputs.source import Place, Source
from triage.outputs.tidy import clean

KIND: Final = "structured_report"


def measurements(
    assessment: Assessment, context: ReportContext, source: Source
) -> ContainerContentItem:
    """Give the container of the groups, one a detection.

    Raises:
        Broken: a score is not finite, or a p-value is outside (0, 1].
    """
    found = ContainerContentItem(
        name=concept(codes.DCM.ImagingMeasurements), relationship_type=CONTAINS
    )
    found.ContentSequence = ContentSequence(
        [_group(detection, assessment, context, source) for detection in assessment.detections]
    )
    return found


def tracking(
    detection: Detection, assessment: Assessment, context: ReportContext
) -> tuple[str, str]:
    """Give the Tracking Identifier and Tracking Unique Identifier of what a detector said."""
    number = assessment.detections.index(detection) + 1
    name = clean(f"{detection.detector.name}, series {number}")
    return name, uid(context, assessment, KIND, f"tracking {number}")


def points_at_segment(detection: Detection, assessment: Assessment, context: ReportContext) -> bool:
    """Tell whether this is the detection that the segmentation beside the report outlines."""
    return (
        context.mode == "research"
        and "segmentation" in context.companions
        and bool(detection.map_sha256)
        and detection == assessment.decision.because
    )


def is_flagged(detection: Detection, assessment: Assessment) -> bool:
    """Tell whether the detector alone would have earned the study a priority."""
    threshold = assessment.decision.threshold
    return threshold is not None and detection.p_value <= threshold


def _group(
    detection: Detection,
    assessment: Assessment,
    context: ReportContext,
    source: Source,
) -> ContainerContentItem:
    segmented = points_at_segment(detection, assessment, context)
    name, unique = tracking(detection, assessment, context)
    group = ContainerContentItem(
        name=concept(codes.DCM.MeasurementGroup),
        relationship_type=CONTAINS,
        template_id="1411" if segmented else "1501",
    )
    group.ContentSequence = ContentSequence(
        [
            said(codes.DCM.TrackingIdentifier, name, OBSERVER),
            pointed(codes.DCM.TrackingUniqueIdentifier, unique, OBSERVER),
            *_finding(detection, assessment),
            *_algorithm(
                detection.detector,
                detection.calibration,
                clean(context.reporting.manufacturer),
                context.mode,
                assessment.decision.threshold,
            ),
            *_run(detection, assessment),
            *_places(detection, assessment, context, source),
            *_numbers(detection),
            coded(codes.DCM.SummaryOfDetections, SUCCEEDED),
            coded(
                DETECTION_RESULT,
                ABOVE_THRESHOLD if is_flagged(detection, assessment) else BELOW_THRESHOLD,
            ),
        ]
    )
    return group


def _finding(detection: Detection, assessment: Assessment) -> list[ContentItem]:
    """Say what kind of finding it is, only of what was flagged, and in which part of the body."""
    items: list[ContentItem] = []
    if is_flagged(detection, assessment):
        items.append(coded(FINDING_CATEGORY, codes.SCT.MorphologicallyAbnormalStructure))
        items.append(coded(codes.DCM.Finding, codes.SCT.Abnormal))
    if (part := region(assessment.study, detection.series_instance_uid)) is not None:
        items.append(coded(codes.SCT.FindingSite, part, MODIFIER))
    return items


@lru_cache(maxsize=256)
def _algorithm(
    detector: Detector,
    calibration: Calibration,
    manufacturer: str,
    mode: str,
    threshold: float | None,
) -> tuple[ContentItem, ...]:
    """TID 4019, with everything that could have changed the numbers among the parameters."""
    parameters = {
        "family": detector.family,
        "weights sha256": detector.weights_sha256,
        "artifact sha256": detector.artifact_sha256,
        "calibration stratum": calibration.stratum,
        "calibration n": str(calibration.n),
        "calibration fallback from": ", ".join(calibration.fallback) or "none",
        "calibration sha256": calibration.sha256,
        "notification threshold p": "none" if threshold is None else f"{threshold:g}",
        "intended use mode": mode,
    }
    return (
        said(codes.DCM.AlgorithmName, detector.name, MODIFIER),
        said(codes.DCM.AlgorithmVersion, detector.version, MODIFIER),
        said(codes.DCM.AlgorithmManufacturer, manufacturer, MODIFIER),
        *map(_parameter, parameters.items()),
        coded(codes.DCM.AlgorithmFamily, codes.cid7162.ArtificialIntelligence, MODIFIER),
    )


def _run(detection: Detection, assessment: Assessment) -> list[ContentItem]:
    """Give the parameters of this one run."""
    parameters = {
        "series": detection.series_instance_uid,
        "images analysed": str(len(detection.sop_instance_uids)),
        "study complete by": assessment.study.ref.evidence,
        "study generation": str(assessment.study.ref.generation),
    }
    return list(map(_parameter, parameters.items()))


def _parameter(parameter: tuple[str, str]) -> ContentItem:
    name, value = parameter
    return said(codes.DCM.AlgorithmParameters, f"{name}: {value}", MODIFIER)


def _numbers(detection: Detection) -> list[ContentItem]:
    if not math.isfinite(detection.score):
        raise Broken(code="internal", detail="A detector's score is not a finite number")
    if not 0.0 < detection.p_value <= 1.0:
        raise Broken(code="internal", detail="A p-value is outside (0, 1]")
    return [
        counted(ANOMALY_SCORE, float(detection.score), codes.UCUM.NoUnits),
        counted(P_VALUE, float(detection.p_value), codes.UCUM.NoUnits),
    ]


def _places(
    detection: Detection, assessment: Assessment, context: ReportContext, source: Source
) -> list[ContentItem]:
    """Point at images: in research mode only, because it marks a location."""
    if context.mode != "research":
        return []
    items: list[ContentItem] = []
    if points_at_segment(detection, assessment, context):
        segmentation = uid(context, assessment, "segmentation", "instance")
        items.append(_segment(segmentation))
        items += [
            _image(codes.DCM.SourceImageForSegmentation, place)
            for place in source.evidence
            if place.series_instance_uid == detection.series_instance_uid
        ]
    else:
        items += [
            _image(codes.DCM.SourceOfMeasurement, place)
            for place in source.evidence
            if place.sop_instance_uid == detection.key_sop_instance_uid
        ]
    explained = detection.map_sha256 and detection == assessment.decision.because
    if explained and "parametric_map" in context.companions:
        explanation = uid(context, assessment, "parametric_map", "instance")
        items.append(_reference(codes.DCM.VisualExplanation, ParametricMapStorage, explanation))
    return items


def _segment(sop_instance_uid: str) -> ImageContentItem:
    """Point at the one segment of the segmentation (TID 1411)."""
    return ImageContentItem(
        name=concept(codes.DCM.ReferencedSegment),
        referenced_sop_class_uid=SegmentationStorage,
        referenced_sop_instance_uid=sop_instance_uid,
        referenced_segment_numbers=1,
        relationship_type=CONTAINS,
    )


def _image(name: Code, place: Place) -> ImageContentItem:
    return _reference(name, place.sop_class_uid, place.sop_instance_uid)


def _reference(
    name: Code,
    sop_class_uid: str,
    sop_instance_uid: str,
    relationship: RelationshipTypeValues = CONTAINS,
) -> ImageContentItem:
    return ImageContentItem(
        name=concept(name),
        referenced_sop_class_uid=sop_class_uid,
        referenced_sop_instance_uid=sop_instance_uid,
        relationship_type=relationship,
    )
