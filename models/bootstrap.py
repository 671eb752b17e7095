"""Intervals by drawing patients again and again, all draws at once.

A measure takes how often each study was drawn, and gives its value for each draw; that the studies
are drawn once each is one such draw. So a value and its interval come from the same lines.

Shapes: D draws, N studies, V different scores, highest first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from models.artifact import Figure

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Measure = Callable[[Floats], Floats]
"""From counts (D, N) to values (D,)."""
CONFIDENCE: Final = 0.95
AT_ONCE: Final = 4_000_000
"""Counts held at a time."""


def auroc_of(scores: npt.ArrayLike, abnormal: npt.ArrayLike) -> Measure:
    """Give the chance that an abnormal score is above a healthy one, ties counting half."""

    def taken(counts_DN: Floats) -> Floats:
        healthy_DV, abnormal_DV = above(scores, abnormal, counts_DN)
        below_DV = healthy_DV[:, -1:] - healthy_DV + _gained(healthy_DV) / 2
        total_D: Floats = healthy_DV[:, -1] * abnormal_DV[:, -1]
        return np.asarray((_gained(abnormal_DV) * below_DV).sum(1) / total_D)

    return taken


def average_precision_of(scores: npt.ArrayLike, abnormal: npt.ArrayLike) -> Measure:
    """Give the mean precision over the abnormal, walking down the scores; ties fall together.

    Source: Manning et al. 2008, section 8.4, without interpolation.
    """

    def taken(counts_DN: Floats) -> Floats:
        healthy_DV, abnormal_DV = above(scores, abnormal, counts_DN)
        precision_DV = abnormal_DV / np.maximum(1, healthy_DV + abnormal_DV)
        return np.asarray((precision_DV * _gained(abnormal_DV)).sum(1) / abnormal_DV[:, -1])

    return taken


def sensitivity_of(specificity: float, scores: npt.ArrayLike, abnormal: npt.ArrayLike) -> Measure:
    """Give the largest share of the abnormal above a cut that so many healthy stay below."""

    def taken(counts_DN: Floats) -> Floats:
        healthy_DV, abnormal_DV = above(scores, abnormal, counts_DN)
        # 0.1 * 20 is a little less than 2.
        spared_DV = healthy_DV <= (1 - specificity) * healthy_DV[:, -1:] + 1e-9
        return np.asarray((abnormal_DV * spared_DV).max(1) / abnormal_DV[:, -1])

    return taken


def f1_of(flagged: npt.ArrayLike, abnormal: npt.ArrayLike) -> Measure:
    """Give the harmonic mean of precision and sensitivity; 0 where nothing is either."""
    flagged_N, abnormal_N = np.asarray(flagged, bool), np.asarray(abnormal, bool)

    def taken(counts_DN: Floats) -> Floats:
        hits_D = counts_DN @ (flagged_N & abnormal_N)
        return np.asarray(
            2 * hits_D / np.maximum(1, counts_DN @ flagged_N + counts_DN @ abnormal_N)
        )

    return taken


def accuracy_of(flagged: npt.ArrayLike, abnormal: npt.ArrayLike) -> Measure:
    """Give the share of studies flagged if and only if abnormal."""
    right_N = np.asarray(flagged, bool) == np.asarray(abnormal, bool)
    return lambda counts_DN: np.asarray(counts_DN @ right_N / counts_DN.sum(1))


def bootstrap(
    measures: Mapping[str, Measure],
    abnormal: npt.ArrayLike,
    patients: Sequence[str],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Figure]:
    """Give each measure and its 95 % bootstrap percentile interval, drawing patients, not images.

    All measures are taken of the same draws. Patients are drawn within those who have any
    abnormal image and those who have none, so that every draw holds both sides. Source: Efron &
    Tibshirani 1993, section 13.3.
    """
    once_1N = np.ones((1, len(patients)))
    found: dict[str, list[Floats]] = {name: [] for name in measures}
    for counts_DN in _draws(np.asarray(abnormal, bool), patients, draws, seed):
        for name, measure in measures.items():
            found[name].append(measure(counts_DN))
    tail = (1 - CONFIDENCE) / 2
    figures = {}
    for name, measure in measures.items():
        low, high = np.quantile(np.concatenate(found[name]), [tail, 1 - tail])
        value = float(measure(once_1N)[0])
        figures[name] = Figure(value=value, low=float(low), high=float(high))
    return figures


def above(
    scores: npt.ArrayLike, abnormal: npt.ArrayLike, counts_DN: Floats
) -> tuple[Floats, Floats]:
    """Count the healthy and the abnormal not below each score there is, highest first: DV twice.

    Raises:
        ValueError: one side is empty.
    """
    scores_N, abnormal_N = np.asarray(scores, float), np.asarray(abnormal, bool)
    if abnormal_N.all() or not abnormal_N.any():
        msg = "scores are needed on both sides"
        raise ValueError(msg)
    order = np.argsort(-scores_N, kind="stable")
    last = np.flatnonzero(np.diff(scores_N[order], append=-np.inf))
    ordered_DN = counts_DN[:, order]
    sick_N = abnormal_N[order]
    healthy_DN, sick_DN = ((ordered_DN * side).cumsum(1) for side in (~sick_N, sick_N))
    return healthy_DN[:, last], sick_DN[:, last]


def _gained(counts_DV: Floats) -> Floats:
    return np.diff(counts_DV, prepend=0, axis=1)


def _draws(abnormal_N: Bools, patients: Sequence[str], draws: int, seed: int) -> Iterator[Floats]:
    """Give how often each study is drawn, some draws at a time."""
    generator = np.random.default_rng(seed)
    _, person_N = np.unique(np.asarray(patients, str), return_inverse=True)
    sick_P = np.bincount(person_N, abnormal_N) > 0
    groups = [np.flatnonzero(sick_P == side) for side in (True, False) if (sick_P == side).any()]
    step = max(1, AT_ONCE // len(person_N))
    for start in range(0, draws, step):
        count = min(step, draws - start)
        often_DP = np.zeros((count, sick_P.size))
        for group in groups:
            often = generator.multinomial(len(group), np.full(len(group), 1 / len(group)), count)
            often_DP[:, group] = often
        yield often_DP[:, person_N]
