"""The content tree of the structured report: TID 1500, 1204, 1001 and 1004 of PS3.16."""

from functools import lru_cache
from typing import Final

from highdicom.sr import ContainerContentItem, ContentItem, ContentSequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from triage.errors import Broken
from triage.finding import Assessment, Outcome, Refusal
from triage.outputs.codes import (
    ENGLISH,
    FAILED_RUN,
    INTENDED_USE,
    NOT_ATTEMPTED,
    PRIORITY,
    QUALITATIVE_EVALUATIONS,
    REASON_NAMES,
    RESULTS,
    TRIAGE_RESULT,
    procedure,
    run_outcome,
    run_summary,
    why,
)
from triage.outputs.context import (
    DISCLAIMER,
    MODEL_NAME,
    RESEARCH_BANNER,
    ReportContext,
    device_uid,
    software_uid,
)
from triage.outputs.header import detectors
from triage.outputs.items import (
    MODIFIER,
    OBSERVER,
    coded,
    concept,
    container,
    pointed,
    said,
)
from triage.outputs.report_groups import KIND, measurements
from triage.outputs.source import Source
from triage.outputs.tidy import clean

__all__ = ["KIND", "after_library", "before_library", "root", "tree"]

_RUN: Final[Code] = codes.DCM.SummaryOfDetections


def tree(assessment: Assessment, context: ReportContext, source: Source) -> ContainerContentItem:
    """Build the root container with everything in it but the image library.

    The library only repeats which images were analysed; it is written by ``image_library``.

    Raises:
        Broken: a score is not finite, a p-value is outside (0, 1], or the outcome is none that a
            report may state.
    """
    whole = root()
    whole.ContentSequence = ContentSequence(
        [
            *before_library(assessment, context, source),
            *after_library(assessment, context, source),
        ]
    )
    return whole


def root() -> ContainerContentItem:
    """Give the root container, empty."""
    return ContainerContentItem(
        name=concept(codes.cid7021.ImagingMeasurementReport), template_id="1500"
    )


def before_library(
    assessment: Assessment, context: ReportContext, source: Source
) -> list[ContentItem]:
    """Give language, observers and the procedure reported."""
    devices = tuple(
        (device_uid(detector), clean(f"{detector.name} {detector.version}"))
        for detector in detectors(assessment)
    ) or ((software_uid(context), clean(f"{MODEL_NAME} {context.version}")),)
    return [
        *_language(),
        *_observers(devices, clean(context.reporting.manufacturer), context.installation),
        coded(codes.DCM.ProcedureReported, procedure(source.header, source.modality), MODIFIER),
    ]


def after_library(
    assessment: Assessment, context: ReportContext, source: Source
) -> list[ContentItem]:
    """Give the measurement groups, where there are any, and the qualitative evaluations."""
    evaluations = container(QUALITATIVE_EVALUATIONS, _evaluations(assessment, context))
    if not assessment.detections:
        return [evaluations]
    return [measurements(assessment, context, source), evaluations]


@lru_cache(maxsize=1)
def _language() -> tuple[ContentItem, ...]:
    """TID 1204."""
    return (coded(codes.DCM.LanguageOfContentItemAndDescendants, ENGLISH, MODIFIER),)


@lru_cache(maxsize=64)
def _observers(
    devices: tuple[tuple[str, str], ...], manufacturer: str, installation: str
) -> tuple[ContentItem, ...]:
    """TID 1001, 1002 and 1004: one device an artifact, or the software where none spoke."""
    known = codes.DCM
    return tuple(
        item
        for of_device, name in devices
        for item in (
            coded(known.ObserverType, known.Device, OBSERVER),
            pointed(known.DeviceObserverUID, of_device, OBSERVER),
            said(known.DeviceObserverName, name, OBSERVER),
            said(known.DeviceObserverManufacturer, manufacturer, OBSERVER),
            said(known.DeviceObserverModelName, MODEL_NAME, OBSERVER),
            said(known.DeviceObserverSerialNumber, installation, OBSERVER),
        )
    )


def _evaluations(assessment: Assessment, context: ReportContext) -> list[ContentItem]:
    """TID 1500 rows 12 to 14: the study's result, how the run went, and what it is not for."""
    decision = assessment.decision
    items: list[ContentItem] = [
        coded(TRIAGE_RESULT, _result(assessment)),
        coded(codes.DCM.CADProcessingAndFindingsSummary, run_summary(assessment)),
    ]
    if not assessment.detections and not assessment.refusals:
        failed = decision.outcome == Outcome.FAILED
        items.append(coded(_RUN, FAILED_RUN if failed else NOT_ATTEMPTED))
    items += map(_refusal, assessment.refusals)
    if decision.reason is not None:
        items.append(coded(REASON_NAMES[decision.outcome], why(decision.reason)))
        items.append(said(codes.DCM.Comment, str(decision.reason)))
    if decision.priority_name:
        items.append(said(PRIORITY, decision.priority_name))
    items.append(said(codes.DCM.Comment, decision.sentence))
    items += _intended_use(context.mode)
    return items


def _refusal(refusal: Refusal) -> ContentItem:
    """Say of one algorithm that it gave no result, and why (CID 6042, CID 9300)."""
    item = coded(_RUN, run_outcome(refusal.reason))
    item.ContentSequence = ContentSequence(
        [
            said(codes.DCM.AlgorithmName, refusal.detector, MODIFIER),
            coded(REASON_NAMES[Outcome.NOT_ANALYSED], why(refusal.reason), MODIFIER),
            said(codes.DCM.Comment, refusal.reason.code, MODIFIER),
        ]
    )
    return item


@lru_cache(maxsize=2)
def _intended_use(mode: str) -> tuple[ContentItem, ...]:
    words = [DISCLAIMER, *([RESEARCH_BANNER] if mode == "research" else [])]
    return tuple(said(INTENDED_USE, text) for text in words)


def _result(assessment: Assessment) -> Code:
    outcome = assessment.decision.outcome
    if outcome not in RESULTS:
        raise Broken(code="internal", detail=f"No report states the outcome {outcome.value!r}")
    return RESULTS[outcome]
