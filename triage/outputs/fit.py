"""Which kinds of object fit a study, and which a destination takes."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

from triage.errors import ConfigError
from triage.finding import Assessment, Outcome

if TYPE_CHECKING:
    from triage.outputs.context import ReportContext

REPORT: Final = "structured_report"
STAND_IN: Final = "secondary_capture"
"""Says in pixels what the report says, for an archive that takes no structured report."""
SOP_CLASSES: Final[Mapping[str, str]] = {
    REPORT: "1.2.840.10008.5.1.4.1.1.88.34",
    STAND_IN: "1.2.840.10008.5.1.4.1.1.7",
    "key_objects": "1.2.840.10008.5.1.4.1.1.88.59",
    "presentation_state": "1.2.840.10008.5.1.4.1.1.11.1",
    "parametric_map": "1.2.840.10008.5.1.4.1.1.30",
    "segmentation": "1.2.840.10008.5.1.4.1.1.66.4",
}
"""Of the kinds that are DICOM objects; a destination may not take them."""
RESEARCH_ONLY: Final = frozenset({"parametric_map", "segmentation"})
"""Kinds that do nothing but mark locations."""


def fits(kind: str, assessment: Assessment, context: "ReportContext") -> bool:
    """Tell whether a kind has anything to say about this study in this mode."""
    condition = _CONDITIONS.get(kind)
    return condition is None or condition(assessment, context)


def taken(wanted: Collection[str], accepted: Collection[str] | None) -> tuple[str, ...]:
    """Give which of the kinds wanted for a destination are sent to it.

    ``accepted`` are the SOP classes that it said it takes; None when it was never asked. What it
    does not take is left out, but never the report itself: a refusal of that must be seen, unless
    its stand-in goes instead.
    """
    if accepted is None:
        return tuple(wanted)
    kept = tuple(kind for kind in wanted if SOP_CLASSES.get(kind, "") in {"", *accepted})
    if REPORT in wanted and REPORT not in kept and STAND_IN not in kept:
        return (REPORT, *kept)
    return kept


def check_mode(wanted: Collection[str], mode: str) -> None:
    """Refuse a configuration that asks for location marks where none may be.

    Raises:
        ConfigError: a kind of RESEARCH_ONLY is asked for in triage mode.
    """
    for kind in sorted(RESEARCH_ONLY & set(wanted)):
        if mode != "research":
            msg = (
                f"site.yaml: destinations: outputs: {kind} marks locations, which needs "
                "intended_use.mode: research"
            )
            raise ConfigError(msg)


def _is_prioritised(assessment: Assessment, _context: "ReportContext") -> bool:
    return assessment.decision.outcome == Outcome.PRIORITISED


def _has_grey_images(assessment: Assessment, _context: "ReportContext") -> bool:
    """A grayscale presentation state is about grey images."""
    because = assessment.decision.because
    return because is not None and all(
        image.samples_per_pixel == 1 and image.photometric_interpretation.startswith("MONOCHROME")
        for series in assessment.study.series
        if series.series_instance_uid == because.series_instance_uid
        for image in series.images
    )


def _has_map(assessment: Assessment, context: "ReportContext") -> bool:
    because = assessment.decision.because
    return context.mode == "research" and because is not None and bool(because.map_sha256)


_CONDITIONS: Final[Mapping[str, Callable[[Assessment, "ReportContext"], bool]]] = {
    "key_objects": _is_prioritised,
    "presentation_state": _has_grey_images,
    "parametric_map": _has_map,
    "segmentation": _has_map,
}
