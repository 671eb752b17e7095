import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from models.bootstrap import (
    Measure,
    accuracy_of,
    auroc_of,
    average_precision_of,
    bootstrap,
    f1_of,
    sensitivity_of,
)
from models.metrics import auroc, auroc_interval

SCORES = np.array([1.0, 2.0, 3.0, 4.0, 2.5, 4.0, 5.0])
SICK = np.array([False] * 4 + [True] * 3)
"""Worked by hand. Highest first: 5 sick; 4 both; 3 well; 2.5 sick; 2 and 1 well."""


def once(measure: Measure, count: int = len(SCORES)) -> float:
    return float(measure(np.ones((1, count)))[0])


def _random() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 9, 200).astype(float), random.random(200) < 0.4


def test_auroc_is_the_plain_one_with_ties() -> None:
    scores, sick = _random()
    expected = auroc(scores[~sick], scores[sick])
    assert once(auroc_of(scores, sick), 200) == pytest.approx(expected)


def test_average_precision_is_that_worked_by_hand_and_sklearn_s_with_ties() -> None:
    # Precision 1/1 at 5, 2/3 at 4 and 3/5 at 2.5, a third of the sick gained at each.
    assert once(average_precision_of(SCORES, SICK)) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    scores, sick = _random()
    expected = average_precision_score(sick, scores)
    assert once(average_precision_of(scores, sick), 200) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("specificity", "sensitivity"), [(1.0, 1 / 3), (0.75, 2 / 3), (0.6, 2 / 3), (0.5, 1.0)]
)
def test_sensitivity_is_read_where_so_many_healthy_stay_below(
    specificity: float, sensitivity: float
) -> None:
    assert once(sensitivity_of(specificity, SCORES, SICK)) == pytest.approx(sensitivity)


def test_a_tenth_of_twenty_healthy_is_two() -> None:
    scores = np.array([*range(20), 17.5, 18.5, 19.5])
    assert once(sensitivity_of(0.9, scores, np.arange(23) >= 20), 23) == 1.0


def test_f1_and_accuracy_count_flags() -> None:
    flagged, sick = [True, True, True, False, False], [True, True, False, True, False]
    assert once(f1_of(flagged, sick), 5) == pytest.approx(2 * 2 / 6)
    assert once(accuracy_of(flagged, sick), 5) == pytest.approx(3 / 5)
    assert once(f1_of([False, False], [False, False]), 2) == 0.0


@pytest.mark.parametrize("made", [auroc_of, average_precision_of])
def test_a_study_drawn_twice_counts_as_two(made: object) -> None:
    counts = np.array([2.0, 0, 1, 1, 1, 3, 1])
    twice = np.repeat(np.arange(7), counts.astype(int))
    assert callable(made)
    drawn = made(SCORES, SICK)(counts[None])[0]
    assert drawn == pytest.approx(once(made(SCORES[twice], SICK[twice]), len(twice)))


def test_one_side_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="both sides"):
        once(auroc_of([1.0, 2.0], [True, True]), 2)


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


def test_all_measures_are_taken_of_the_same_draws_however_they_are_parted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores, abnormal, patients = _scores(60, 1)
    alone = auroc_interval(scores, abnormal, patients, draws=50)
    measures = {"size": lambda counts: counts.sum(1), "auroc": auroc_of(scores, abnormal)}
    drawn = bootstrap(measures, abnormal, patients, draws=50)
    assert drawn["auroc"] == alone
    assert drawn["size"].low == drawn["size"].high == 60
    monkeypatch.setattr("models.bootstrap.AT_ONCE", 60 * 7)
    parted = bootstrap(measures, abnormal, patients, draws=50)
    assert parted["size"] == drawn["size"]
    assert parted["auroc"].value == alone.value
