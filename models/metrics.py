"""How well scores separate, with intervals. Used on labelled test sets only, never to choose.

Shapes: N studies.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, rankdata

from models.artifact import Figure

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
Measure = Callable[[Index], float]
"""A number taken of some of the studies; one may be drawn twice."""
CONFIDENCE = 0.95


def auroc(healthy: npt.ArrayLike, abnormal: npt.ArrayLike) -> float:
    """Give the chance that an abnormal score is above a healthy one, ties counting half.

    Raises:
        ValueError: one side is empty.
    """
    healthy_N, abnormal_N = np.asarray(healthy, float), np.asarray(abnormal, float)
    if not (healthy_N.size and abnormal_N.size):
        msg = "AUROC needs scores on both sides"
        raise ValueError(msg)
    ranks = rankdata(np.concatenate([abnormal_N, healthy_N]))[: abnormal_N.size]
    n = abnormal_N.size
    return float((ranks.sum() - n * (n + 1) / 2) / (n * healthy_N.size))


def average_precision(healthy: npt.ArrayLike, abnormal: npt.ArrayLike) -> float:
    """Give the mean precision over the abnormal, walking down the scores; ties fall together.

    Source: Manning et al. 2008, section 8.4, without interpolation.

    Raises:
        ValueError: one side is empty.
    """
    healthy_above, abnormal_above = _above(healthy, abnormal)
    precision = abnormal_above / np.maximum(1, healthy_above + abnormal_above)
    gained = np.diff(abnormal_above, prepend=0)
    return float((precision * gained).sum() / abnormal_above[-1])


def sensitivity_at(specificity: float, healthy: npt.ArrayLike, abnormal: npt.ArrayLike) -> float:
    """Give the largest share of the abnormal above a threshold that so many healthy stay below.

    Raises:
        ValueError: one side is empty.
    """
    healthy_above, abnormal_above = _above(healthy, abnormal)
    allowed = (1 - specificity) * healthy_above[-1] + 1e-9  # 0.1 * 20 is a little less than 2
    found = abnormal_above[healthy_above <= allowed]
    return float(found.max(initial=0) / abnormal_above[-1])


def curve(healthy: npt.ArrayLike, abnormal: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Give the ROC's false and true positive rates, from (0, 0) to (1, 1).

    Raises:
        ValueError: one side is empty.
    """
    healthy_above, abnormal_above = _above(healthy, abnormal)
    return (
        np.concatenate([[0.0], healthy_above / healthy_above[-1]]),
        np.concatenate([[0.0], abnormal_above / abnormal_above[-1]]),
    )


def f1(flagged: npt.ArrayLike, abnormal: npt.ArrayLike) -> float:
    """Give the harmonic mean of precision and sensitivity; 0 where neither is anything."""
    flagged_N, abnormal_N = np.asarray(flagged, bool), np.asarray(abnormal, bool)
    both = flagged_N.sum() + abnormal_N.sum()
    return float(2 * (flagged_N & abnormal_N).sum() / both) if both else 0.0


def accuracy(flagged: npt.ArrayLike, abnormal: npt.ArrayLike) -> float:
    """Give the share of studies flagged if and only if abnormal."""
    return float((np.asarray(flagged, bool) == np.asarray(abnormal, bool)).mean())


def auroc_interval(
    scores: npt.ArrayLike,
    abnormal: npt.ArrayLike,
    patients: Sequence[str],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Figure:
    """Give the AUROC and its 95 % interval, by ``bootstrap``."""
    scores_N, abnormal_N = np.asarray(scores, float), np.asarray(abnormal, bool)

    def of(chosen: Index) -> float:
        sick = abnormal_N[chosen]
        return auroc(scores_N[chosen[~sick]], scores_N[chosen[sick]])

    return bootstrap({"auroc": of}, abnormal_N, patients, draws=draws, seed=seed)["auroc"]


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
    abnormal_N = np.asarray(abnormal, bool)
    groups = _by_patient(abnormal_N, patients)
    generator = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(draws):
        chosen = np.concatenate(
            [group[i] for group in groups for i in generator.integers(len(group), size=len(group))]
        )
        for name, measure in measures.items():
            found[name].append(measure(chosen))
    tail = (1 - CONFIDENCE) / 2
    everyone = np.arange(abnormal_N.size)
    return {
        name: Figure(
            value=measure(everyone),
            low=float(np.quantile(found[name], tail)),
            high=float(np.quantile(found[name], 1 - tail)),
        )
        for name, measure in measures.items()
    }


def share_flagged(p_values: npt.ArrayLike, alpha: float) -> Figure:
    """Give the share with p <= alpha and its 95 % Clopper-Pearson interval.

    Of abnormal studies it is the sensitivity at alpha, of healthy ones the realised false-flag
    rate. Source: Clopper & Pearson 1934, as quantiles of the beta distribution.

    Raises:
        ValueError: there is no p-value.
    """
    p_N = np.asarray(p_values, float)
    n, k = p_N.size, int((p_N <= alpha).sum())
    if not n:
        msg = "a share needs at least one p-value"
        raise ValueError(msg)
    tail = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, k, n - k + 1)) if k else 0.0
    high = float(beta.ppf(1 - tail, k + 1, n - k)) if k < n else 1.0
    return Figure(value=k / n, low=low, high=high)


def _by_patient(
    abnormal_N: npt.NDArray[np.bool_], patients: Sequence[str]
) -> list[list[npt.NDArray[np.intp]]]:
    """Give each patient's images, patients with an abnormal image apart from the others."""
    images: dict[str, list[int]] = {}
    for index, patient in enumerate(patients):
        images.setdefault(patient, []).append(index)
    groups: dict[bool, list[npt.NDArray[np.intp]]] = {}
    for indices in images.values():
        groups.setdefault(bool(abnormal_N[indices].any()), []).append(np.asarray(indices))
    return list(groups.values())


def _above(healthy: npt.ArrayLike, abnormal: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Count, for each score there is, highest first, the healthy and the abnormal not below it."""
    healthy_N, abnormal_N = np.asarray(healthy, float), np.asarray(abnormal, float)
    if not (healthy_N.size and abnormal_N.size):
        msg = "scores are needed on both sides"
        raise ValueError(msg)
    values = np.unique(np.concatenate([healthy_N, abnormal_N]))[::-1]
    return (
        healthy_N.size - np.searchsorted(np.sort(healthy_N), values).astype(float),
        abnormal_N.size - np.searchsorted(np.sort(abnormal_N), values).astype(float),
    )
