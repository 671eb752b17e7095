"""What is known of a study's completeness, for people: what was said, what closed it."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.evidence import (
    AnnouncementRow,
    ClosingRow,
    SeriesArrivalRow,
    SourceCountRow,
    UrgencyRow,
)
from db.tables import StudyRow
from triage.evidence import announcements


@dataclass(frozen=True, slots=True)
class Shown:
    """All the evidence on one study."""

    closings: tuple[ClosingRow, ...]
    """Latest generation first."""
    announced: tuple[AnnouncementRow, ...]
    count: SourceCountRow | None
    series: tuple[SeriesArrivalRow, ...]
    urgency: UrgencyRow | None

    @property
    def latest(self) -> ClosingRow | None:
        """Give what closed the latest generation."""
        return self.closings[0] if self.closings else None


def shown(session: Session, study: StudyRow) -> Shown:
    """Gather what is known of a study's completeness."""
    closings = (
        select(ClosingRow)
        .where(ClosingRow.study_id == study.id)
        .order_by(ClosingRow.generation.desc())
    )
    series = (
        select(SeriesArrivalRow)
        .where(SeriesArrivalRow.study_id == study.id)
        .order_by(SeriesArrivalRow.id)
    )
    return Shown(
        closings=tuple(session.scalars(closings)),
        announced=announcements.of_study(session, study.study_instance_uid),
        count=session.get(SourceCountRow, study.id),
        series=tuple(session.scalars(series)),
        urgency=session.get(UrgencyRow, study.id),
    )
