"""A study as a line of the list: its marks, and who reads it, its priors, and its clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db import queries
from db.listing import Clock
from db.priors import PriorRow
from db.reader_claims import held
from db.tables import StudyRow
from triage.reading import Reading
from triage.worklist import claiming, doubts, view
from triage.worklist.sessions import Viewer

PRIORS_HERE: Final = ("here", "complete", "partial")
"""States of a prior that can be looked at."""
WORDS: Final = {"within": "", "soon": "soon due", "late": "late"}


@dataclass(frozen=True, slots=True)
class Turnaround:
    """How long a study has waited to be opened, and how long it may."""

    since: datetime
    spent: timedelta
    limit: timedelta
    opened: bool
    """The clock stands."""
    key: str
    """within, soon or late."""

    @property
    def word(self) -> str:
        """Say it, so that no colour has to."""
        return WORDS[self.key]


@dataclass(frozen=True, slots=True)
class Line:
    """One study of a list."""

    row: view.Row
    turnaround: Turnaround
    claim: claiming.Held | None
    priors: int


def turnaround(study: StudyRow, at: datetime, limits: Reading) -> Turnaround:
    """Give a study's clock: from receipt to its first opening, which stops it."""
    limit = timedelta(seconds=limits.limit_s(study.priority))
    spent = (study.opened_at or at) - study.received_at
    near = "soon" if spent >= limits.nearly * limit else "within"
    return Turnaround(
        since=study.received_at,
        spent=spent,
        limit=limit,
        opened=study.opened_at is not None,
        key="late" if spent > limit else near,
    )


def lines(
    session: Session, studies: Sequence[StudyRow], clock: Clock, limits: Reading, who: Viewer
) -> list[Line]:
    """Give the studies as the list shows them to this reader."""
    numbers = [study.id for study in studies]
    reports, warnings = queries.reports(session, numbers), queries.warnings(session, numbers)
    doubted, older = doubts.warned(session, numbers), _priors(session, numbers)
    claims = held(session, numbers, clock.as_of)
    found = []
    for study in studies:
        number = study.id
        row = view.row(study, reports.get(number, ()), clock, warnings.get(number, ()))
        found.append(
            Line(
                replace(row, warnings=row.warnings + doubted.get(number, ())),
                turnaround(study, clock.as_of, limits),
                claiming.shown(claims.get(number), who),
                older.get(number, 0),
            )
        )
    return found


def _priors(session: Session, numbers: Sequence[int]) -> Mapping[int, int]:
    """Count, by study, the priors that can be looked at."""
    wanted = (
        select(PriorRow.study_id, func.count())
        .where(PriorRow.study_id.in_(numbers), PriorRow.state.in_(PRIORS_HERE))
        .group_by(PriorRow.study_id)
    )
    found: dict[int, int] = dict(session.execute(wanted).all())
    return found
