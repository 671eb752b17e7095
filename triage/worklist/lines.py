"""A study as a line of the list: its marks, and who reads it, its priors, and its clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from operator import itemgetter
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db import queries
from db.among import among
from db.listing import Clock
from db.priors import PriorRow
from db.reader_claims import held
from db.remarks import WarningRow
from db.tables import OutboxRow, StudyRow
from triage.reading import Reading
from triage.worklist import claiming, doubts, view, words
from triage.worklist.sessions import Viewer

PRIORS_HERE: Final = ("here", "complete", "partial")
"""States of a prior that can be looked at."""
PRIORS: Final = (
    select(PriorRow.study_id, func.count())
    .where(among(PriorRow.study_id, "studies"))
    .where(PriorRow.state.in_(PRIORS_HERE))
    .group_by(PriorRow.study_id)
)
DOT: Final = " \N{MIDDLE DOT} "
WHOLE: Final = itemgetter(*StudyRow.__table__.columns.keys())
"""Every column of a study's attributes, so that none can be forgotten."""
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


@dataclass(frozen=True)
class Line:
    """One study of a list, and what is known about it besides."""

    study: StudyRow
    reports: tuple[OutboxRow, ...]
    remarks: tuple[WarningRow, ...]
    doubts: tuple[str, ...]
    turnaround: Turnaround
    claim: claiming.Held | None
    priors: int
    clock: Clock

    @cached_property
    def row(self) -> view.Row:
        """Give it as the pages show a study."""
        row = view.row(self.study, self.reports, self.clock, self.remarks)
        return replace(row, warnings=row.warnings + self.doubts) if self.doubts else row

    @property
    def content(self) -> tuple[object, ...]:
        """Give all that a line shows: two with the same content look the same."""
        study, clock, turn = self.study, self.clock, self.turnaround
        return (
            WHOLE(vars(study)), view.report(study, self.reports),
            tuple([one.code for one in self.remarks]), self.doubts, self.claim, self.priors,
            turn.key, turn.limit, words.hours(turn.spent),
            clock.promotes(study), clock.promote_after,
            clock.is_overdue(study), clock.overdue_after,
        )  # fmt: skip

    # In whole phrases: what a template joins from parts takes it several times as long.

    @property
    def who(self) -> str:
        """Give what tells the patient from another of the same name."""
        study = self.study
        number = words.shortened(study.patient_id) or "no patient ID"
        sex = words.shortened(words.sex(study.patient_sex))
        return DOT.join(part for part in (number, sex, self.row.age) if part)

    @property
    def what(self) -> str:
        """Give the kind of study."""
        kind = words.shortened(self.study.modality) or "?"
        return f"{kind}{DOT}{words.shortened(self.row.what)}" if self.row.what else kind

    @property
    def when(self) -> str:
        """Give the day and time of the study."""
        study = self.study
        return f"{words.shortened(words.day(study.study_date))} {words.clock(study.study_time)}"

    @property
    def waiting(self) -> str:
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
    return [
        Line(
            study=study,
            reports=reports.get(study.id, ()),
            remarks=warnings.get(study.id, ()),
            doubts=doubted.get(study.id, ()),
            turnaround=turnaround(study, clock.as_of, limits),
            claim=claiming.shown(claims.get(study.id), who),
            priors=older.get(study.id, 0),
            clock=clock,
        )
        for study in studies
    ]


def _priors(session: Session, numbers: Sequence[int]) -> Mapping[int, int]:
    """Count, by study, the priors that can be looked at."""
    found: dict[int, int] = dict(session.execute(PRIORS, {"studies": numbers}).all())
    return found
