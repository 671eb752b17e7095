"""What narrows a list: modality, body part, source, site, and when a study was received."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.tables import StudyRow

MOST: Final = 200
"""Choices that a filter offers."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions that a list's studies meet besides; empty ones ask for nothing."""

    modality: str = ""
    body_part: str = ""
    source: str = ""
    """The AE title that the study's first instance came from."""
    site: str = ""
    """The Institution Name that it was made at."""
    since: datetime | None = None
    until: datetime | None = None
    """Received from ``since`` on, and before ``until``."""

    def condition(self) -> ColumnElement[bool]:
        """Give them as one."""
        found: ColumnElement[bool] = true()
        for column, value in (
            (StudyRow.modality, self.modality),
            (StudyRow.body_part, self.body_part),
            (StudyRow.source_ae_title, self.source),
            (StudyRow.institution_name, self.site),
        ):
            if value:
                found = found & (column == value)
        if self.since is not None:
            found = found & (StudyRow.received_at >= self.since)
        if self.until is not None:
            found = found & (StudyRow.received_at < self.until)
        return found


EVERYTHING: Final = Filters()


@dataclass(frozen=True, slots=True)
class Choices:
    """The values that there are, each in the order of its letters."""

    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    sources: tuple[str, ...]
    sites: tuple[str, ...]


def choices(session: Session) -> Choices:
    """Give what the filters can be set to; one index step for each value."""
    return Choices(
        tuple(_distinct(session, StudyRow.modality)),
        tuple(_distinct(session, StudyRow.body_part)),
        tuple(_distinct(session, StudyRow.source_ae_title)),
        tuple(_distinct(session, StudyRow.institution_name)),
    )


def _distinct(session: Session, column: InstrumentedAttribute[str]) -> Iterator[str]:
    last: str | None = ""
    for _ in range(MOST):
        last = session.scalar(select(func.min(column)).where(column > last))
        if last is None:
            return
        yield last
