"""Whether a detector flags as it did: its last days beside those before, and its expected flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt
from typing import Final

from sqlalchemy.orm import Session

from db import overview
from db.engine import now
from db.overview import Spoken
from triage.settings import Policy
from triage.worklist.cards import Installed, Stratum

RECENT: Final = timedelta(days=7)
BEFORE: Final = timedelta(days=28)
FEWEST: Final = 30
"""Studies on each side below which nothing is compared."""
FAR: Final = 3.0
"""Standard errors between two shares that chance seldom makes."""
CANDIDATES: Final = (0.005, 0.01, 0.02, 0.05, 0.1)


@dataclass(frozen=True, slots=True)
class Monitored:
    """One detector as the admins watch it."""

    card: Installed
    state: str
    """as before, more flags, fewer flags, silent, too few to tell, or not in order."""
    mark: str
    """is-on, is-off or is-unsure: its shape and colour."""
    recent: int
    """Studies in the last days."""
    recent_flags: int
    before: int
    before_flags: int
    refused: int
    last: datetime | None
    in_use: str
    """Hash of the artifact that last spoke."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What one threshold costs: flags a day."""

    p_at_most: float
    level: str
    """The policy's name of it; empty where it is only a candidate."""
    score: float | None
    expected_share: float
    """Of healthy studies."""
    expected: float
    """Flags a day, if all were healthy."""
    seen: float
    """Flags a day, as they were."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """One stratum of one detector, with what each threshold costs."""

    detector: str
    stratum: Stratum
    a_day: float
    """Studies."""
    lines: tuple[Expectation, ...]


def monitored(session: Session, cards: Sequence[Installed], policy: Policy) -> list[Monitored]:
    """Hold each detector's last seven days against the twenty-eight before."""
    at, limit = now(session), _limit(policy)
    recent = _by_detector(overview.spoken(session, at - RECENT, at, (limit,)), limit)
    before = _by_detector(
        overview.spoken(session, at - RECENT - BEFORE, at - RECENT, (limit,)), limit
    )
    refused, in_use = overview.refused(session, at - RECENT), overview.last_artifacts(session)
    nothing = (0, 0, None)
    return [
        _monitored(
            card,
            recent.get(card.name, nothing),
            before.get(card.name, nothing),
            refused.get(card.name, 0),
            in_use.get(card.name, ""),
        )
        for card in cards
    ]


def thresholds(session: Session, cards: Sequence[Installed], policy: Policy) -> list[Threshold]:
    """Give the flags a day at each threshold, from the calibration and the site's own arrivals."""
    at = now(session)
    named = {level.p_at_most: level.name for level in policy.levels}
    places = tuple(sorted({*CANDIDATES, *named}))
    seen = {
        (one.detector, one.stratum): one
        for one in overview.spoken(session, at - BEFORE, at, places)
    }
    return [
        _threshold(card.name, stratum, seen.get((card.name, stratum.name)), places, named)
        for card in cards
        for stratum in card.strata
    ]


def compare(recent: tuple[int, int], before: tuple[int, int]) -> str:
    """Tell whether the share of flags changed: (studies, flags) of the last days and before.

    Two shares are held apart in units of their pooled standard error.
    """
    (n, flags), (m, older) = recent, before
    if min(n, m) < FEWEST:
        return "too few to tell"
    pooled = (flags + older) / (n + m)
    error = sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    if not error:
        return "as before"
    apart = (flags / n - older / m) / error
    if abs(apart) <= FAR:
        return "as before"
    return "more flags" if apart > 0 else "fewer flags"


def _monitored(
    card: Installed,
    recent: tuple[int, int, datetime | None],
    before: tuple[int, int, datetime | None],
    refused: int,
    in_use: str,
) -> Monitored:
    if card.problem:
        state = card.problem
    elif before[0] and not recent[0]:
        state = "silent"
    else:
        state = compare(recent[:2], before[:2])
    mark = {"as before": "is-on", "too few to tell": "is-unsure"}.get(state, "is-off")
    last = recent[2] or before[2]
    return Monitored(card, state, mark, *recent[:2], *before[:2], refused, last, in_use)


def _threshold(
    detector: str,
    stratum: Stratum,
    seen: Spoken | None,
    places: Sequence[float],
    named: Mapping[float, str],
) -> Threshold:
    days = BEFORE / timedelta(days=1)
    a_day = seen.studies / days if seen else 0.0
    return Threshold(
        detector,
        stratum,
        a_day,
        tuple(
            Expectation(
                p_at_most=one,
                level=named.get(one, ""),
                score=stratum.score(one),
                expected_share=stratum.expected(one),
                expected=a_day * stratum.expected(one),
                seen=seen.flagged[one] / days if seen else 0.0,
            )
            for one in places
        ),
    )


def _by_detector(
    found: Sequence[Spoken], limit: float
) -> Mapping[str, tuple[int, int, datetime | None]]:
    sums: dict[str, tuple[int, int, datetime | None]] = {}
    for one in found:
        studies, flags, last = sums.get(one.detector, (0, 0, None))
        newest = one.last if last is None else max(one.last, last)
        sums[one.detector] = (studies + one.studies, flags + one.flagged[limit], newest)
    return sums


def _limit(policy: Policy) -> float:
    """Give the weakest threshold that earns a priority."""
    return max((level.p_at_most for level in policy.levels), default=0.0)
