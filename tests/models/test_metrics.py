import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from models.metrics import (
    accuracy,
    auroc,
    auroc_interval,
    average_precision,
    bootstrap,
    curve,
    f1,
    sensitivity_at,
    share_flagged,
)


def test_auroc_is_that_of_sklearn_with_ties() -> None:
    random = np.random.default_rng(0)
    scores, abnormal = random.integers(0, 9, 200), random.random(200) < 0.4
    expected = roc_auc_score(abnormal, scores)
    assert auroc(scores[~abnormal], scores[abnormal]) == pytest.approx(expected)


@pytest.mark.parametrize(("low", "high", "value"), [([1, 2], [3, 4], 1.0), ([1], [1], 0.5)])
def test_auroc_of_what_is_plain_to_see(low: list[int], high: list[int], value: float) -> None:
    assert auroc(low, high) == value


def test_auroc_needs_both_sides() -> None:
    with pytest.raises(ValueError, match="both sides"):
        auroc([], [1.0])


def _scores(patients: int, images: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    random = np.random.default_rng(1)
    abnormal = np.repeat(np.arange(patients) % 2 == 0, images)
    own = np.repeat(random.normal(size=patients), images)
    return own + abnormal, abnormal, [str(i // images) for i in range(patients * images)]


def test_the_interval_holds_the_value_and_repeats_under_its_seed() -> None:
    figure = auroc_interval(*_scores(60, 1), draws=200)
    assert figure.low < figure.value < figure.high
    assert figure == auroc_interval(*_scores(60, 1), draws=200)


def test_copies_of_a_patient_s_images_do_not_narrow_the_interval() -> None:
    once = auroc_interval(*_scores(60, 1), draws=400)
    ten_times = auroc_interval(*_scores(60, 10), draws=400)
    scores, abnormal, _ = _scores(60, 10)
    as_if_independent = auroc_interval(scores, abnormal, list(map(str, range(600))), draws=400)
    width = once.high - once.low
    assert ten_times.high - ten_times.low == pytest.approx(width, rel=0.25)
    assert as_if_independent.high - as_if_independent.low < 0.6 * width


def test_the_share_s_interval_is_clopper_and_pearson_s() -> None:
    figure = share_flagged([0.01] * 2 + [0.5] * 98, 0.05)
    assert figure.value == pytest.approx(0.02)
    assert (figure.low, figure.high) == pytest.approx((0.00243, 0.07038), abs=1e-5)


@pytest.mark.parametrize(("p", "low", "high"), [(0.9, 0.0, 0.30850), (0.01, 0.69150, 1.0)])
def test_none_or_all_flagged_has_a_one_sided_bound(p: float, low: float, high: float) -> None:
    figure = share_flagged([p] * 10, 0.05)
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=1e-5)


def test_p_equal_to_alpha_is_flagged_and_no_p_value_is_an_error() -> None:
    assert share_flagged([0.05], 0.05).value == 1.0
    with pytest.raises(ValueError, match="at least one"):
        share_flagged([], 0.05)


WELL, SICK = [1.0, 2.0, 3.0, 4.0], [2.5, 4.0, 5.0]
"""Worked by hand. Highest first: 5 sick; 4 both; 3 well; 2.5 sick; 2 and 1 well."""


def test_average_precision_is_that_worked_by_hand_and_sklearn_s_with_ties() -> None:
    # Precision 1/1 at 5, 2/3 at 4 and 3/5 at 2.5, a third of the sick gained at each.
    assert average_precision(WELL, SICK) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    random = np.random.default_rng(0)
    scores, abnormal = random.integers(0, 9, 200), random.random(200) < 0.4
    expected = average_precision_score(abnormal, scores)
    assert average_precision(scores[~abnormal], scores[abnormal]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("specificity", "sensitivity"), [(1.0, 1 / 3), (0.75, 2 / 3), (0.6, 2 / 3), (0.5, 1.0)]
)
def test_sensitivity_is_read_where_so_many_healthy_stay_below(
    specificity: float, sensitivity: float
) -> None:
    assert sensitivity_at(specificity, WELL, SICK) == pytest.approx(sensitivity)


def test_a_tenth_of_twenty_healthy_is_two() -> None:
    assert sensitivity_at(0.9, list(range(20)), [17.5, 18.5, 19.5]) == 1.0


def test_the_curve_encloses_the_auroc() -> None:
    false, true = curve(WELL, SICK)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    area = float((np.diff(false) * (true[1:] + true[:-1]) / 2).sum())
    assert area == pytest.approx(auroc(WELL, SICK))


def test_f1_and_accuracy_count_flags() -> None:
    flagged, abnormal = [True, True, True, False, False], [True, True, False, True, False]
    assert f1(flagged, abnormal) == pytest.approx(2 * 2 / 6)
    assert accuracy(flagged, abnormal) == pytest.approx(3 / 5)
    assert f1([False, False], [False, False]) == 0.0


def test_all_measures_are_taken_of_the_same_draws() -> None:
    scores, abnormal, patients = _scores(60, 1)
    alone = auroc_interval(scores, abnormal, patients, draws=50)
    drawn = bootstrap(
        {"size": len, "auroc": lambda i: auroc(scores[i][~abnormal[i]], scores[i][abnormal[i]])},
        abnormal,
        patients,
        draws=50,
    )
    assert drawn["auroc"] == alone
    assert drawn["size"].low == drawn["size"].high == 60
