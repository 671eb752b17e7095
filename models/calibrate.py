"""From a raw score to a conformal p-value against healthy studies of the same stratum.

Source: Vovk et al. 2005, split conformal; Bates et al. 2023, arXiv:2104.08279, eq. 2. If a
healthy study is exchangeable with the calibration studies, it gets p <= a with probability at
most a, whatever the detector.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from pydantic import BaseModel, ConfigDict, field_validator


class Uncalibrated(ValueError):
    """No stratum of the calibration fits with enough healthy studies."""


@dataclass(frozen=True, slots=True)
class PValue:
    """A p-value and what it was taken against."""

    p: float
    """In [1 / (n + 1), 1]."""
    stratum: str
    n: int
    fallback: tuple[str, ...]
    """Strata tried before this one, most specific first."""


class Calibration(BaseModel):
    """Scores of healthy calibration studies, one a study, by stratum."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strata: Mapping[str, tuple[float, ...]]
    """Ascending."""

    @field_validator("strata")
    @classmethod
    def _ascending(cls, strata: Mapping[str, tuple[float, ...]]) -> Mapping[str, tuple[float, ...]]:
        for name, scores in strata.items():
            if not all(map(isfinite, scores)) or list(scores) != sorted(scores):
                msg = f"the scores of stratum {name!r} are not finite and ascending"
                raise ValueError(msg)
        return strata

    def p_value(self, score: float, keys: Sequence[str], *, minimum: int = 1) -> PValue:
        """Give (1 + #{s_i >= score}) / (n + 1) in the first stratum of at least ``minimum``.

        Raises:
            Uncalibrated: none of the strata has that many scores.
            ValueError: the score is not finite.
        """
        if not isfinite(score):
            msg = "the score is not finite"
            raise ValueError(msg)
        for place, key in enumerate(keys):
            scores = self.strata.get(key, ())
            if len(scores) >= max(1, minimum):
                as_strange = len(scores) - bisect_left(scores, score)
                p = (1 + as_strange) / (len(scores) + 1)
                return PValue(p=p, stratum=key, n=len(scores), fallback=tuple(keys[:place]))
        tried = ", ".join(keys) or "no stratum"
        msg = f"fewer than {minimum} healthy calibration studies for {tried}"
        raise Uncalibrated(msg)


def calibrate(scores: Mapping[str, Iterable[float]]) -> Calibration:
    """Build a calibration from unsorted scores of healthy studies, one a study."""
    return Calibration(strata={name: tuple(sorted(map(float, s))) for name, s in scores.items()})
