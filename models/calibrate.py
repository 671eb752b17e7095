"""From a raw score to a conformal p-value against healthy studies of the same stratum.

Source: Vovk et al. 2005, split conformal; Bates et al. 2023, arXiv:2104.08279, eq. 2. If a
healthy study is exchangeable with the calibration studies, it gets p <= a with probability at
most a, whatever the detector. Strata are Mondrian categories (Vovk et al. 2005, section 4.5): the
promise holds in each. A patient counts once in each (Dunn et al. 2022, arXiv:1809.07441, "single
subsampling"): studies of one patient are not exchangeable with studies of several.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from math import isfinite
from statistics import fmean
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

KINDS: Final = ("view", "site", "scanner")
"""What may narrow a stratum, or else must have been seen in it."""
NARROWINGS: Final = (("view", "scanner"), ("scanner",), ("view", "site"), ("site",), ("view",), ())
"""The order in which the strata of one body part and age band are tried."""
UNKNOWN: Final = "UNKNOWN"
"""What a header does not say. It makes no stratum of its own."""
AGGREGATIONS: Final[Mapping[str, int]] = {"max": 1, "top3": 3}
"""Of how many of its strangest slices a study's score is the mean."""


class Uncalibrated(ValueError):
    """No stratum of the calibration fits with enough healthy studies."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a stratum may speak about a study."""

    minimum: int = 1
    """Healthy studies, each of another patient, of a stratum by body part, age band or view."""
    narrow: int = 200
    """The same of a stratum by site or scanner."""
    seen: int = 20
    """Of a stratum that mixes views, sites, scanners or age bands: how many of the study's own."""


@dataclass(frozen=True, slots=True)
class Place:
    """What decides which stratum a study belongs to."""

    base: tuple[str, ...]
    """Most specific first: ("DX/CHEST/child", "DX/CHEST")."""
    narrower: Mapping[str, str] = field(default_factory=dict)
    """By kind of KINDS; a kind that is not here is not asked."""

    def ladder(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Give every stratum it belongs to, most specific first, and what it mixes there.

        That is, in words as of ``Facts.seen``: the study's own view, site, scanner and age band,
        where the stratum is not of that one alone.
        """
        for base in self.base:
            for kinds in NARROWINGS:
                if all(self.narrower.get(kind, UNKNOWN) != UNKNOWN for kind in kinds):
                    words = [f"{kind}={self.narrower[kind]}" for kind in kinds]
                    yield "/".join([base, *words]), self._mixed(base, kinds)

    def _mixed(self, base: str, kinds: Sequence[str]) -> tuple[str, ...]:
        words = [f"{kind}={self.narrower[kind]}" for kind in KINDS if kind in self.narrower]
        own = {f"{kind}={self.narrower[kind]}" for kind in kinds}
        band = self.base[0].removeprefix(f"{base}/")
        return (
            *(word for word in words if word not in own),
            *([f"band={band}"] if band != self.base[0] else []),
        )


@dataclass(frozen=True, slots=True)
class PValue:
    """A p-value and what it was taken against."""

    p: float
    """In [1 / (n + 1), 1]."""
    stratum: str
    n: int
    fallback: tuple[str, ...]
    """Strata tried before this one, most specific first."""


class Facts(BaseModel):
    """Whom the scores of one stratum come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patients: int
    """The effective n: each gives one score."""
    studies: int
    """Of these patients, whether they gave the score or not."""
    images: int
    seen: Mapping[str, int] = Field(default={})
    """Patients by "view=PA", "site=...", "scanner=...", "band=child"; a kind that is not here was
    not known, and is not checked."""


class Calibration(BaseModel):
    """Scores of healthy calibration studies, one a patient, by stratum."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strata: Mapping[str, tuple[float, ...]]
    """Ascending."""
    facts: Mapping[str, Facts] = Field(default={})
    """By stratum; none in calibrations that are older than this field."""
    peaks: Mapping[str, tuple[float, ...]] = Field(default={})
    """Ascending: the highest value of each study's anomaly map, where the detector draws one."""
    aggregation: str = "max"
    """Key of AGGREGATIONS: how slices make a study's score."""
    date: str = ""
    """ISO 8601, UTC; empty: the card says it."""
    images: tuple[str, ...] = ()
    """Digests of the images that calibrated, sorted, where the card does not list them."""

    @field_validator("strata", "peaks")
    @classmethod
    def _ascending(cls, strata: Mapping[str, tuple[float, ...]]) -> Mapping[str, tuple[float, ...]]:
        for name, scores in strata.items():
            if not all(map(isfinite, scores)) or list(scores) != sorted(scores):
                msg = f"the scores of stratum {name!r} are not finite and ascending"
                raise ValueError(msg)
        return strata

    @field_validator("aggregation")
    @classmethod
    def _known(cls, aggregation: str) -> str:
        if aggregation not in AGGREGATIONS:
            msg = f"none of {', '.join(AGGREGATIONS)}"
            raise ValueError(msg)
        return aggregation

    def p_value(self, score: float, keys: Sequence[str], *, minimum: int = 1) -> PValue:
        """Give the p-value in the first of these strata that has ``minimum`` studies.

        Raises:
            Uncalibrated: none of the strata has that many scores.
            ValueError: the score is not finite.
        """
        return self.p_value_at(score, Place(tuple(keys)), Rule(minimum))

    def p_value_at(self, score: float, place: Place, rule: Rule) -> PValue:
        """Give (1 + #{s_i >= score}) / (n + 1) in the first stratum that may speak.

        Raises:
            Uncalibrated: none may.
            ValueError: the score is not finite.
        """
        if not isfinite(score):
            msg = "the score is not finite"
            raise ValueError(msg)
        stratum, fallback = self.stratum_at(place, rule)
        scores = self.strata[stratum]
        return PValue(p=conformal(score, scores), stratum=stratum, n=len(scores), fallback=fallback)

    def stratum_at(self, place: Place, rule: Rule) -> tuple[str, tuple[str, ...]]:
        """Give the first stratum that may speak about a study, and those tried before it.

        Raises:
            Uncalibrated: none may; the message names no value of the study's header.
        """
        tried: list[str] = []
        unseen: set[str] = set()
        for key, mixed in place.ladder():
            if key not in self.strata and key not in place.base:
                continue
            missing = self._unseen(key, mixed, rule)
            if self._is_enough(key, rule) and not missing:
                return key, tuple(tried)
            if self._is_enough(key, rule):
                unseen |= missing
            tried.append(key)
        raise Uncalibrated(_why(place, unseen, rule))

    def _is_enough(self, key: str, rule: Rule) -> bool:
        least = rule.narrow if "/scanner=" in key or "/site=" in key else rule.minimum
        return len(self.strata.get(key, ())) >= max(1, least)

    def _unseen(self, key: str, mixed: Sequence[str], rule: Rule) -> set[str]:
        """Give the kinds of which the stratum knows, and knows too few like the study's."""
        seen = self.facts[key].seen if key in self.facts else {}
        known = {word.partition("=")[0] for word in seen}
        return {
            kind
            for kind, word in ((word.partition("=")[0], word) for word in mixed)
            if kind in known and seen.get(word, 0) < rule.seen
        }


def conformal(score: float, healthy: Sequence[float]) -> float:
    """Give (1 + #{s_i >= score}) / (n + 1); ``healthy`` is ascending."""
    as_strange = len(healthy) - bisect_left(healthy, score)
    return (1 + as_strange) / (len(healthy) + 1)


def aggregate(scores: Iterable[float], how: str = "max") -> float:
    """Give a study's score of its slices': the mean of the strangest, as many as ``how`` says."""
    return fmean(nlargest(AGGREGATIONS[how], scores))


def calibrate(scores: Mapping[str, Iterable[float]]) -> Calibration:
    """Build a calibration from unsorted scores of healthy studies, one a patient."""
    return Calibration(strata={name: tuple(sorted(map(float, s))) for name, s in scores.items()})


def _why(place: Place, unseen: Iterable[str], rule: Rule) -> str:
    tried = ", ".join(place.base) or "no stratum"
    if words := ", ".join(sorted(unseen)):
        return (
            f"fewer than {rule.seen} healthy calibration studies of {tried} have this study's "
            f"{words}"
        )
    return f"fewer than {rule.minimum} healthy calibration studies for {tried}"
