"""A study as a line of the list: its marks, and who reads it, its priors, and its clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from db import queries
from db.listing import Clock
from db.priors import PriorRow
from db.reader_claims import held
from db.tables import StudyRow
from triage.reading import Reading
from triage.worklist import claiming, doubts, view, words
from triage.worklist.sessions import Viewer

PRIORS_HERE: Final = ("here", "complete", "partial")
"""States of a prior that can be looked at."""
PRIORS: Final = (
    select(PriorRow.study_id, func.count())
    .where(PriorRow.study_id.in_(bindparam("studies", expanding=True)))
    .where(PriorRow.state.in_(PRIORS_HERE))
    .group_by(PriorRow.study_id)
)
DOT: Final = " \N{MIDDLE DOT} "
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

    # In whole phrases: what a template joins from parts takes it several times as long.

    @property
    def who(self) -> str:
        """Give what tells the patient from another of the same name."""
        study = self.row.study
        number = words.shortened(study.patient_id) or "no patient ID"
        sex = words.shortened(words.sex(study.patient_sex))
        return DOT.join(part for part in (number, sex, self.row.age) if part)

    @property
    def what(self) -> str:
        """Give the kind of study."""
        kind = words.shortened(self.row.study.modality) or "?"
        return f"{kind}{DOT}{words.shortened(self.row.what)}" if self.row.what else kind

    @property
    def when(self) -> str:
        """Give the day and time of the study."""
        study = self.row.study
        return f"{words.shortened(words.day(study.study_date))} {words.clock(study.study_time)}"

    @property
    def clock(self) -> str:
        """Give the time it has waited and may wait."""
        return f"{words.hours(self.turnaround.spent)} / {words.hours(self.turnaround.limit)}"

    @property
    def turn(self) -> str:
        """Say how the clock stands, so that no colour has to."""
        word = self.turnaround.word
        if not self.turnaround.opened:
            return word
        return f"{word} when opened" if word else "until opened"


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
        if number in doubted:
            row = replace(row, warnings=row.warnings + doubted[number])
        found.append(
            Line(
                row,
                turnaround(study, clock.as_of, limits),
                claiming.shown(claims.get(number), who),
                older.get(number, 0),
            )
        )
    return found


def _priors(session: Session, numbers: Sequence[int]) -> Mapping[int, int]:
    """Count, by study, the priors that can be looked at."""
    found: dict[int, int] = dict(session.execute(PRIORS, {"studies": numbers}).all())
    return found
