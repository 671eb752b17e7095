"""Decide: from detections to a place on the worklist. Studies only move up."""

from collections.abc import Sequence

from triage.errors import Reason
from triage.finding import WARNINGS, Decision, Detection, Look, Outcome, StudyWarning
from triage.settings import Policy

ROUTINE = "routine"


def decide(detections: Sequence[Detection], policy: Policy) -> Decision:
    """Give the study the highest priority that any detection earns.

    The reason shown is the detection with the highest rank; the first of equals.
    """
    strongest = max(detections, key=lambda detection: detection.rank)
    level = next(
        (
            level
            for level in sorted(policy.levels, key=lambda level: level.p_at_most)
            if strongest.p_value <= level.p_at_most
        ),
        None,
    )
    return Decision(
        outcome=Outcome.PRIORITISED if level else Outcome.NOT_PRIORITISED,
        priority=level.priority if level else 0,
        priority_name=level.name if level else ROUTINE,
        sentence=_sentence(strongest),
        because=strongest,
        thresholds=tuple((level.name, level.p_at_most) for level in policy.levels),
    )


def not_analysed(reason: Reason) -> Decision:
    """Give the decision for a study no detector could speak about."""
    return Decision(
        outcome=Outcome.NOT_ANALYSED,
        priority=0,
        priority_name=ROUTINE,
        sentence=f"Not analysed. {reason.sentence}.",
        reason=reason,
    )


def failed(reason: Reason) -> Decision:
    """Give what is reported of a study whose analysis failed."""
    return Decision(
        outcome=Outcome.FAILED,
        priority=0,
        priority_name=ROUTINE,
        sentence=f"Failed. {reason.sentence}.",
        reason=reason,
    )


def warnings(detections: Sequence[Detection], policy: Policy) -> tuple[StudyWarning, ...]:
    """Warn where an image surely looks like something else than its header says.

    One warning a series and detector. It is about the header as much as about the image: either
    may be wrong, and the priority stays as it is.
    """
    return tuple(
        StudyWarning(
            code="header-image",
            sentence=f"{WARNINGS['header-image']}: {'; '.join(said)} ({one.detector.name} "
            f"{one.detector.version}).",
            detector=one.detector.name,
            series_instance_uid=one.series_instance_uid,
        )
        for one in detections
        if (said := [_contradiction(look) for look in one.looks if _disagrees(look, policy)])
    )


def _disagrees(look: Look, policy: Policy) -> bool:
    rule, header = policy.disagreement, look.header_probability
    return (
        header is not None
        and look.probability >= rule.image_at_least
        and header <= rule.header_at_most
    )


def _contradiction(look: Look) -> str:
    return (
        f"the {look.kind} is {look.header} in the header, and looks like {look.word} with "
        f"probability {look.probability:.2f}"
    )


def _sentence(detection: Detection) -> str:
    calibration = detection.calibration
    stranger = round(detection.p_value * (calibration.n + 1)) - 1
    share = (
        f"more unusual than all {calibration.n}"
        if stranger == 0
        else f"at least as unusual as {calibration.n - stranger} of {calibration.n}"
    )
    dated = f", calibrated {calibration.date}" if calibration.date else ""
    return (
        f"{share[0].upper()}{share[1:]} healthy studies of {calibration.stratum} "
        f"(p = {detection.p_value:.3f}, {detection.detector.name} {detection.detector.version}"
        f"{dated})."
    )
