import math

import numpy as np
import pytest
from pydantic import ValidationError

from models.calibrate import Calibration, Uncalibrated, calibrate


@pytest.fixture
def calibration() -> Calibration:
    return calibrate({"DX/CHEST/child": [3.0, 1.0, 2.0, 2.0], "DX/CHEST": range(99)})


@pytest.mark.parametrize(
    ("score", "p"), [(0.5, 1.0), (1.0, 1.0), (1.5, 4 / 5), (2.0, 4 / 5), (2.5, 2 / 5), (9.0, 1 / 5)]
)
def test_p_counts_healthy_studies_at_least_as_strange_ties_included(
    calibration: Calibration, score: float, p: float
) -> None:
    assert calibration.p_value(score, ("DX/CHEST/child",)).p == pytest.approx(p)


def test_the_first_stratum_with_enough_healthy_studies_is_taken(calibration: Calibration) -> None:
    keys = ("DX/CHEST/adult", "DX/CHEST/child", "DX/CHEST")
    few = calibration.p_value(2.5, keys, minimum=4)
    many = calibration.p_value(2.5, keys, minimum=50)
    assert (few.stratum, few.n, few.fallback) == ("DX/CHEST/child", 4, ("DX/CHEST/adult",))
    assert (many.stratum, many.n) == ("DX/CHEST", 99)
    assert many.fallback == ("DX/CHEST/adult", "DX/CHEST/child")


@pytest.mark.parametrize("keys", [(), ("CT/HEAD",), ("DX/CHEST/child",)])
def test_no_stratum_with_enough_is_an_error_not_a_guess(
    calibration: Calibration, keys: tuple[str, ...]
) -> None:
    with pytest.raises(Uncalibrated):
        calibration.p_value(2.5, keys, minimum=50)


def test_an_empty_stratum_is_never_used() -> None:
    with pytest.raises(Uncalibrated):
        calibrate({"DX/CHEST": []}).p_value(1.0, ("DX/CHEST",), minimum=0)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_gets_no_p_value(calibration: Calibration, score: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        calibration.p_value(score, ("DX/CHEST",))


def test_it_survives_json_bit_by_bit(calibration: Calibration) -> None:
    assert Calibration.model_validate_json(calibration.model_dump_json()) == calibration


@pytest.mark.parametrize("scores", [(2.0, 1.0), (1.0, math.nan)])
def test_unsorted_or_missing_scores_are_refused(scores: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="ascending"):
        Calibration(strata={"DX/CHEST": scores})


@pytest.mark.parametrize("alpha", [0.02, 0.05, 0.2])
def test_healthy_studies_get_p_at_most_alpha_at_most_that_often(alpha: float) -> None:
    """Over many calibrations the rate is floor(alpha (n + 1)) / (n + 1) for scores without ties."""
    random = np.random.default_rng(0)
    n, rounds, each = 99, 400, 50
    flagged = 0
    for _ in range(rounds):
        calibration = calibrate({"s": random.lognormal(size=n)})
        new = random.lognormal(size=each)
        flagged += sum(calibration.p_value(float(score), ("s",)).p <= alpha for score in new)
    expected = math.floor(alpha * (n + 1) + 1e-9) / (n + 1)
    assert flagged / (rounds * each) == pytest.approx(expected, abs=0.006)


def test_with_ties_healthy_studies_are_flagged_less_often_than_alpha() -> None:
    random = np.random.default_rng(0)
    flagged = 0
    for _ in range(400):
        calibration = calibrate({"s": random.integers(0, 5, 99)})
        new = random.integers(0, 5, 50)
        flagged += sum(calibration.p_value(float(score), ("s",)).p <= 0.1 for score in new)
    assert flagged / (400 * 50) < 0.01  # a fifth of the healthy are as strange as the strangest
