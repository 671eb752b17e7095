"""How well scores separate, with intervals. Used on labelled test sets only, never to choose.

Shapes: N studies.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, rankdata

from models.artifact import Figure
from models.bootstrap import CONFIDENCE, Floats, above, auroc_of, bootstrap


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


def curve(healthy: npt.ArrayLike, abnormal: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Give the ROC's false and true positive rates, from (0, 0) to (1, 1).

    Raises:
        ValueError: one side is empty.
    """
    healthy_N, abnormal_N = np.asarray(healthy, float), np.asarray(abnormal, float)
    scores_N = np.concatenate([healthy_N, abnormal_N])
    sick_N = np.arange(scores_N.size) >= healthy_N.size
    counts = above(scores_N, sick_N, np.ones((1, scores_N.size)))
    false, true = (np.concatenate([[0.0], side[0] / side[0, -1]]) for side in counts)
    return false, true


def auroc_interval(
    scores: npt.ArrayLike,
    abnormal: npt.ArrayLike,
    patients: Sequence[str],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Figure:
    """Give the AUROC and its 95 % interval, by ``bootstrap``."""
    measures = {"auroc": auroc_of(scores, abnormal)}
    return bootstrap(measures, abnormal, patients, draws=draws, seed=seed)["auroc"]


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
