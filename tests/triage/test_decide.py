from dataclasses import replace

import pytest

from triage.decide import decide, not_analysed, warnings
from triage.errors import Reason
from triage.finding import Calibration, Detection, Detector, Look, Outcome
from triage.settings import Disagreement, Level, Policy

POLICY = Policy(
    levels=(
        Level(name="raised", p_at_most=0.05, priority=1),
        Level(name="high", p_at_most=0.02, priority=2),
    )
)


def detection(p: float, name: str = "a", n: int = 99) -> Detection:
    return Detection(
        detector=Detector(name, "memae", "1.0", "w", "a"),
        calibration=Calibration("DX/CHEST", n, (), "c"),
        series_instance_uid="1.2",
        sop_instance_uids=("1.2.3",),
        key_sop_instance_uid="1.2.3",
        score=1.0,
        p_value=p,
    )


@pytest.mark.parametrize(
    ("p", "outcome", "name"),
    [
        (0.01, Outcome.PRIORITISED, "high"),
        (0.02, Outcome.PRIORITISED, "high"),
        (0.03, Outcome.PRIORITISED, "raised"),
        (0.05, Outcome.PRIORITISED, "raised"),
        (0.06, Outcome.NOT_PRIORITISED, "routine"),
        (1.0, Outcome.NOT_PRIORITISED, "routine"),
    ],
)
def test_the_rarest_level_that_the_p_value_reaches_is_the_priority(
    p: float, outcome: Outcome, name: str
) -> None:
    decision = decide([detection(p)], POLICY)
    assert (decision.outcome, decision.priority_name) == (outcome, name)


def test_the_strangest_detection_decides_and_the_first_of_equals_is_shown() -> None:
    found = [detection(0.5), detection(0.03, "first"), detection(0.03, "second")]
    decision = decide(found, POLICY)
    assert decision.because is found[1]
    assert decision.priority == 1


def test_the_sentence_counts_the_healthy_studies() -> None:
    assert "more unusual than all 99 healthy" in decide([detection(0.01)], POLICY).sentence.lower()
    assert "as unusual as 95 of 99 healthy" in decide([detection(0.05)], POLICY).sentence


def test_the_sentence_names_the_detector_its_version_and_the_day_it_was_calibrated() -> None:
    dated = Calibration("DX/CHEST", 99, (), "c", date="2026-11-21")
    said = decide([replace(detection(0.05), calibration=dated)], POLICY).sentence
    assert said.endswith("studies of DX/CHEST (p = 0.050, a 1.0, calibrated 2026-11-21).")
    assert "calibrated" not in decide([detection(0.05)], POLICY).sentence


def test_a_study_no_detector_could_speak_about_says_why() -> None:
    decision = not_analysed(Reason("no-route"))
    assert decision.outcome is Outcome.NOT_ANALYSED
    assert decision.sentence == "Not analysed. No route takes this kind of study."


def looking(probability: float, header: str, header_probability: float | None) -> Detection:
    """Give a detection whose images look like a head."""
    return replace(
        detection(0.5), looks=(Look("organ", "HEAD", probability, header, header_probability),)
    )


@pytest.mark.parametrize(
    ("look", "warned"),
    [
        (looking(0.97, "CHEST", 0.02), True),
        (looking(0.90, "CHEST", 0.05), True),
        (looking(0.89, "CHEST", 0.02), False),
        (looking(0.93, "CHEST", 0.06), False),
        (looking(0.97, "HEAD", 0.97), False),
        (looking(0.97, "", None), False),
        (detection(0.5), False),
    ],
    ids=["sure", "at both limits", "image unsure", "header likely", "agree", "no header", "blind"],
)
def test_only_a_sure_contradiction_of_the_header_is_warned_of(
    look: Detection, warned: bool
) -> None:
    assert len(warnings([look], POLICY)) == warned


def test_a_warning_names_both_words_and_changes_no_decision() -> None:
    organ = Look("organ", "HEAD", 0.973, "CHEST", 0.01)
    modality = Look("modality", "CT", 0.95, "DX", 0.03)
    found = replace(detection(0.5), looks=(organ, modality))
    [warning] = warnings([found], POLICY)
    assert (warning.code, warning.detector) == ("header-image", "a")
    assert warning.series_instance_uid == found.series_instance_uid
    assert warning.sentence == (
        "Header and image disagree: the organ is CHEST in the header, and looks like HEAD with "
        "probability 0.97; the modality is DX in the header, and looks like CT with probability "
        "0.95 (a 1.0)."
    )
    without = replace(decide([detection(0.5)], POLICY), because=None)
    assert replace(decide([found], POLICY), because=None) == without


def test_a_stricter_policy_warns_less() -> None:
    strict = POLICY.model_copy(update={"disagreement": Disagreement(image_at_least=0.99)})
    assert warnings([looking(0.97, "CHEST", 0.02)], strict) == ()
