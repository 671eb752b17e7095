"""How well scores separate, with intervals. Used on labelled test sets only, never to choose.

Shapes: N studies.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, rankdata

from models.artifact import Figure

Floats = npt.NDArray[np.float64]
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


def auroc_interval(
    scores: npt.ArrayLike,
    abnormal: npt.ArrayLike,
    patients: Sequence[str],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Figure:
    """Give the AUROC and its 95 % bootstrap percentile interval, drawing patients, not images.

    Patients are drawn within those who have any abnormal image and those who have none, so that
    every draw holds both sides. Source: Efron & Tibshirani 1993, section 13.3.
    """
    scores_N, abnormal_N = np.asarray(scores, float), np.asarray(abnormal, bool)
    value = auroc(scores_N[~abnormal_N], scores_N[abnormal_N])
    groups = _by_patient(abnormal_N, patients)
    generator = np.random.default_rng(seed)
    found = np.empty(draws)
    for draw in range(draws):
        chosen = np.concatenate(
            [group[i] for group in groups for i in generator.integers(len(group), size=len(group))]
        )
        sick = abnormal_N[chosen]
        found[draw] = auroc(scores_N[chosen[~sick]], scores_N[chosen[sick]])
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Figure(value=value, low=float(low), high=float(high))


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
