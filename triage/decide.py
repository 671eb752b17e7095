"""Decide: from detections to a place on the worklist. Studies only move up."""

from collections.abc import Sequence

from triage.errors import Reason
from triage.finding import Decision, Detection, Outcome
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


def _sentence(detection: Detection) -> str:
    calibration = detection.calibration
    stranger = round(detection.p_value * (calibration.n + 1)) - 1
    share = (
        f"more unusual than all {calibration.n}"
        if stranger == 0
        else f"at least as unusual as {calibration.n - stranger} of {calibration.n}"
    )
    return (
        f"{share[0].upper()}{share[1:]} healthy studies of {calibration.stratum} "
        f"(p = {detection.p_value:.3f}, {detection.detector.name} {detection.detector.version})."
    )
