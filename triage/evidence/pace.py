"""How long a study must be silent: configured for its modality, or learnt from its station.

The longest pause within each of a station's last studies is remembered; the quiet period is a
multiple of the pause that 95 % of them do not exceed, between two bounds. A pause that was longer
than what was waited counts as well: its instances come late, into the same study. Pauses beyond
the upper bound are no pauses: somebody sent an old study again.
"""

import json
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.engine import now
from db.evidence import SeriesArrivalRow, StationPaceRow
from db.upsert import insert_once
from triage.settings import Completeness

REMEMBERED: Final = 100
"""Studies of a station."""
QUANTILE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Quiet:
    """A quiet period and where it comes from."""

    seconds: float
    studies: int = 0
    """From which it was learnt; 0 where it is configured."""

    def __str__(self) -> str:
        learnt = f", learnt from {self.studies} studies of its station" if self.studies else ""
        return f"quiet period {self.seconds:g} s{learnt}"


def quiet(session: Session, rules: Completeness, station: str, modality: str) -> Quiet:
    """Give the quiet period after an instance of a station."""
    if rules.learning.enabled:
        row = session.get(StationPaceRow, station)
        if row is not None and row.quiet_ms is not None:
            return Quiet(row.quiet_ms / 1000, row.studies)
    return Quiet(rules.quiet_s_by_modality.get(modality, rules.quiet_s))


def of_study(session: Session, rules: Completeness, study_id: int) -> Quiet:
    """Give the longest quiet period of the stations that a study came from."""
    stations = session.execute(
        select(SeriesArrivalRow.station, SeriesArrivalRow.modality)
        .where(SeriesArrivalRow.study_id == study_id)
        .distinct()
    )
    found = [quiet(session, rules, station, modality) for station, modality in stations]
    return max(found, key=lambda one: one.seconds, default=Quiet(rules.quiet_s))


def learn(session: Session, rules: Completeness, study_id: int) -> None:
    """Remember a study's longest pause for each station that it came from."""
    pauses = session.execute(
        select(SeriesArrivalRow.station, func.max(SeriesArrivalRow.longest_gap_ms))
        .where(SeriesArrivalRow.study_id == study_id)
        .group_by(SeriesArrivalRow.station)
    ).all()
    for station, longest_ms in pauses:
        values = {"station": station, "gaps": "[]", "studies": 0, "updated_at": now(session)}
        insert_once(session, StationPaceRow, values)
        row = session.scalars(
            select(StationPaceRow).where(StationPaceRow.station == station).with_for_update()
        ).one()
        known = [one for one in json.loads(row.gaps) if one[0] != study_id]
        known = [*known, [study_id, longest_ms]][-REMEMBERED:]
        row.gaps, row.studies, row.updated_at = json.dumps(known), len(known), now(session)
        row.quiet_ms = _quiet_ms([gap for _, gap in known], rules)
    session.flush()


def _quiet_ms(gaps_ms: list[int], rules: Completeness) -> int | None:
    learning = rules.learning
    if len(gaps_ms) < learning.min_studies:
        return None
    ordered = sorted(gaps_ms)
    usual = ordered[min(int(QUANTILE * len(ordered)), len(ordered) - 1)]
    shortest, longest = learning.shortest_s * 1000, learning.longest_s * 1000
    return round(min(max(usual * learning.factor, shortest), longest))
