import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from models.metrics import auroc, auroc_interval, share_flagged


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
