import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from models.metrics import auroc, curve, share_flagged


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


def test_the_curve_encloses_the_auroc() -> None:
    well, sick = [1.0, 2.0, 3.0, 4.0], [2.5, 4.0, 5.0]
    false, true = curve(well, sick)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    area = float((np.diff(false) * (true[1:] + true[:-1]) / 2).sum())
    assert area == pytest.approx(auroc(well, sick))
