"""From healthy studies to a calibration: strata, one score a patient, and whom they come from."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from models.calibrate import Calibration, Facts, Place, Rule


class NotFinite(ValueError):
    """Scores of healthy studies are no numbers: the detector cannot be calibrated on them."""


@dataclass(frozen=True, slots=True)
class Healthy:
    """One healthy study, or one of its series, scored."""

    patient: str
    study: str
    """Tells it from the patient's others."""
    score: float
    place: Place
    images: int = 1
    peak: float | None = None
    """The highest value of its anomaly map; None where the detector draws none."""


_Member = tuple[Healthy, tuple[str, ...]]
"""A study in a stratum, and what that mixes of it."""


def calibrate_studies(
    studies: Iterable[Healthy], rule: Rule, *, aggregation: str = "max", date: str = ""
) -> Calibration:
    """Build every stratum that the studies' places name.

    Strata by view, site or scanner are made where they are as large as the rule asks; those by
    body part and age band always, so that too small a one is seen to be. In each, series of one
    study are joined to the strangest, and a patient's score is that of one study, drawn by a hash.

    Raises:
        NotFinite: a score is no number.
    """
    every = sorted(studies, key=_digest)
    if wrong := sum(not isfinite(one.score) for one in every):
        msg = f"{wrong} of {len(every)} healthy studies have a score that is no number"
        raise NotFinite(msg)
    groups: dict[str, dict[tuple[str, str], _Member]] = {}
    for one in every:
        for key, mixed in one.place.ladder():
            _join(groups.setdefault(key, {}), one, mixed)
    bases = {base for one in every for base in one.place.base}
    drawn = {
        key: found
        for key, group in sorted(groups.items())
        if len(found := _draw(group.values())) >= _least(key, bases, rule)
    }
    return Calibration(
        strata={key: tuple(sorted(one.score for one, _ in found)) for key, found in drawn.items()},
        facts={key: _facts(groups[key].values(), found) for key, found in drawn.items()},
        peaks={key: peaks for key, found in drawn.items() if (peaks := _peaks(found))},
        aggregation=aggregation,
        date=date,
    )


def _join(group: dict[tuple[str, str], _Member], one: Healthy, mixed: tuple[str, ...]) -> None:
    """Add a series to its study in one stratum: of several the strangest speaks, as in serving."""
    key = (one.patient, one.study)
    if key not in group:
        group[key] = (one, mixed)
        return
    had, had_mixed = group[key]
    peaks = [each.peak for each in (had, one) if each.peak is not None]
    joined = replace(
        had,
        score=max(had.score, one.score),
        images=had.images + one.images,
        peak=max(peaks) if len(peaks) > 1 else None,
    )
    group[key] = (joined, tuple(dict.fromkeys((*had_mixed, *mixed))))


def _draw(group: Iterable[_Member]) -> tuple[_Member, ...]:
    """Give the first study of each patient; sorted by digest, no score decides which it is."""
    first: dict[str, _Member] = {}
    for member in group:
        first.setdefault(member[0].patient, member)
    return tuple(first.values())


def _digest(one: Healthy) -> str:
    return hashlib.sha256(f"{one.patient}\0{one.study}".encode()).hexdigest()


def _least(key: str, bases: set[str], rule: Rule) -> int:
    if key in bases:
        return 1
    return rule.narrow if "/scanner=" in key or "/site=" in key else rule.minimum


def _peaks(found: Sequence[_Member]) -> tuple[float, ...]:
    peaks = [one.peak for one, _ in found if one.peak is not None]
    return tuple(sorted(peaks)) if len(peaks) == len(found) else ()


def _facts(group: Collection[_Member], found: Sequence[_Member]) -> Facts:
    counts = Counter(word for _, mixed in found for word in mixed)
    return Facts(
        patients=len(found),
        studies=len(group),
        images=sum(one.images for one, _ in group),
        seen=dict(sorted(counts.items())),
    )
