"""How many healthy studies a threshold flags: the rate, its interval, and what a day brings.

With n healthy calibration studies, those with p <= alpha are the ones stranger than all but the
k - 1 strangest of the n, k = floor(alpha (n + 1)). Of healthy studies like them k / (n + 1) are
flagged in the mean over calibrations; with one calibration, which is what a site has, the rate is
one draw of Beta(k, n + 1 - k), and of m healthy studies the flagged are beta-binomial.

Source: Vovk 2012, arXiv:1209.2673, proposition 2a; Bates et al. 2023, arXiv:2104.08279, section 2.
Nothing here knows of diseased studies: they are flagged besides.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from triage.errors import ConfigError
from triage.settings import Level

CONFIDENCE: Final = 0.95
CALIBRATION: Final = "calibration.json"


@dataclass(frozen=True, slots=True)
class Promise:
    """The false-flag rate of a threshold, in [0, 1]."""

    alpha: float
    n: int
    """Healthy calibration studies, each of another patient."""
    rate: float
    """The mean over calibrations of this size; at most ``alpha``."""
    low: float
    high: float
    """Where the rate of one calibration lies with a probability of ``CONFIDENCE``."""


@dataclass(frozen=True, slots=True)
class ExpectedFlags:
    """What one level of the policy flags of the healthy studies of one stratum on one day."""

    stratum: str
    level: str
    promise: Promise
    arrivals_a_day: float
    flags_a_day: float
    low: float
    high: float
    """The interval of ``flags_a_day``, from the promise's."""
    busy_day: int
    """On 19 days of 20 there are at most so many."""


def promise(n: int, alpha: float) -> Promise:
    """Give the false-flag rate that n healthy calibration studies promise at p <= alpha.

    Zero where n is too small for any study to reach alpha: nothing is flagged.
    """
    from scipy.special import betaincinv  # slow to import, and not every page promises

    flagged = steps(n, alpha)
    if not flagged:
        return Promise(alpha, n, 0.0, 0.0, 0.0)
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(betaincinv(flagged, n + 1 - flagged, q)) for q in (tail, 1 - tail))
    return Promise(alpha, n, flagged / (n + 1), low, high)


def steps(n: int, alpha: float) -> int:
    """Give k, the number of the n + 1 possible ranks that are flagged; at most n."""
    return min(n, math.floor(alpha * (n + 1) + 1e-9))


def expected_flags_a_day(
    calibration: Mapping[str, int], arrivals: Mapping[str, float], levels: Sequence[Level]
) -> tuple[ExpectedFlags, ...]:
    """Give what each level flags of each stratum's healthy studies a day.

    ``calibration`` is ``sizes`` of an artifact: healthy calibration studies by stratum;
    ``arrivals`` are studies a day by stratum. A stratum without calibration is left out: its
    studies are not analysed, so nothing of it is flagged. A level counts all with a p-value at
    or below its own, hence also those of the rarer levels.
    """
    return tuple(
        _expected(stratum, level, promise(calibration[stratum], level.p_at_most), a_day)
        for stratum, a_day in arrivals.items()
        for level in levels
        if calibration.get(stratum)
    )


def alpha_for(n: int, arrivals_a_day: float, flags_a_day: float) -> float | None:
    """Give the largest alpha that flags at most so many healthy studies a day; None if none does.

    "At most" holds for the upper end of the rate's interval: it is not left to the luck of the
    calibration. Single days vary beside it (``ExpectedFlags.busy_day``).
    """
    low, high = 0, n
    while low < high:
        middle = (low + high + 1) // 2
        rate = promise(n, middle / (n + 1)).high
        low, high = (middle, high) if rate * arrivals_a_day <= flags_a_day else (low, middle - 1)
    return low / (n + 1) if low else None


def sizes(artifact: Path) -> dict[str, int]:
    """Give the number of healthy calibration studies of each stratum of an artifact's folder.

    Raises:
        ConfigError: the folder holds no calibration that can be read.
    """
    path = artifact / CALIBRATION
    try:
        strata = json.loads(path.read_text("utf-8"))["strata"]
        return {str(name): len(scores) for name, scores in strata.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as why:
        msg = f"{path} cannot be read ({type(why).__name__}); install the artifact again"
        raise ConfigError(msg) from None


def _expected(stratum: str, level: Level, said: Promise, a_day: float) -> ExpectedFlags:
    return ExpectedFlags(
        stratum=stratum,
        level=level.name,
        promise=said,
        arrivals_a_day=a_day,
        flags_a_day=said.rate * a_day,
        low=said.low * a_day,
        high=said.high * a_day,
        busy_day=_busy_day(said, math.ceil(a_day)),
    )


def _busy_day(said: Promise, studies: int) -> int:
    """Give the 0.95 quantile of the beta-binomial count of flags among so many studies."""
    import numpy as np
    from scipy.special import betaln, gammaln

    flagged = steps(said.n, said.alpha)
    if not flagged or not studies:
        return 0
    count = np.arange(studies + 1)
    spared = said.n + 1 - flagged
    log_share = (
        gammaln(studies + 1) - gammaln(count + 1) - gammaln(studies - count + 1)
        + betaln(count + flagged, studies - count + spared) - betaln(flagged, spared)
    )  # fmt: skip
    return int(np.searchsorted(np.cumsum(np.exp(log_share)), CONFIDENCE - 1e-9))
