"""What we hold, by its UIDs: instances of studies, and of priors, which are marked as such.

Of two contents under one SOP Instance UID the first that came is given, and a study that is held
is said to be so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from db.priors import PriorInstanceRow, PriorRow
from db.tables import InstanceRow, StudyRow
from triage.finding import Outcome
from triage.priors.place import prior_path
from triage.spool import stored_path

PAGE: Final = 200
"""Studies that are read at a time."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One instance and where its bytes are."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    sha256: str
    path: Path
    is_prior: bool = False
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names; an empty UID names all."""

    study: str = ""
    series: str = ""
    instance: str = ""

    @property
    def path(self) -> str:
        """Give it as the path of a resource (PS3.18 10.1)."""
        parts = (("studies", self.study), ("series", self.series), ("instances", self.instance))
        return "".join(f"/{name}/{uid}" for name, uid in parts if uid)


def instances(session: Session, spool: Path, place: Place) -> list[Kept]:
    """Give the instances of a place, in the order of their arrival."""
    own = (
        select(InstanceRow, StudyRow.study_instance_uid, StudyRow.outcome)
        .join(StudyRow, StudyRow.id == InstanceRow.study_id)
        .where(*_of(place, InstanceRow, StudyRow.study_instance_uid))
        .order_by(InstanceRow.id)
    )
    found: dict[str, Kept] = {}
    for row, study, outcome in session.execute(own):
        path = stored_path(spool, row.sha256)
        kept = _kept(row, study, path, is_held=outcome == Outcome.HELD)
        found.setdefault(row.sop_instance_uid, kept)
    fetched = (
        select(PriorInstanceRow, PriorRow.study_instance_uid)
        .join(PriorRow, PriorRow.id == PriorInstanceRow.prior_id)
        .where(*_of(place, PriorInstanceRow, PriorRow.study_instance_uid))
        .order_by(PriorInstanceRow.id)
    )
    for one, study in session.execute(fetched):
        path = prior_path(spool, one.sha256)
        found.setdefault(one.sop_instance_uid, _kept(one, study, path, is_prior=True))
    return list(found.values())


def studies(session: Session, conditions: Sequence[ColumnElement[bool]]) -> Iterator[StudyRow]:
    """Give the studies that meet the conditions, newest first."""
    below: int | None = None
    while True:
        asked: Select[StudyRow] = select(StudyRow).where(*conditions)
        if below is not None:
            asked = asked.where(StudyRow.id < below)
        rows = session.scalars(asked.order_by(StudyRow.id.desc()).limit(PAGE)).all()
        yield from rows
        if len(rows) < PAGE:
            return
        below = rows[-1].id


def prior_studies(session: Session) -> list[str]:
    """Give the Study Instance UIDs of priors of which we hold files and no study."""
    held = select(StudyRow.study_instance_uid)
    found = (
        select(PriorRow.study_instance_uid)
        .join(PriorInstanceRow, PriorInstanceRow.prior_id == PriorRow.id)
        .where(PriorRow.study_instance_uid.not_in(held))
        .order_by(PriorRow.study_instance_uid)
        .distinct()
    )
    return list(session.scalars(found))


def _of(
    place: Place, table: type[InstanceRow | PriorInstanceRow], study: ColumnElement[str] | object
) -> list[ColumnElement[bool]]:
    pairs = (
        (study, place.study),
        (table.series_instance_uid, place.series),
        (table.sop_instance_uid, place.instance),
    )
    return [column == uid for column, uid in pairs if uid]  # type: ignore[misc] # columns compare


def _kept(
    row: InstanceRow | PriorInstanceRow,
    study: str,
    path: Path,
    *,
    is_prior: bool = False,
    is_held: bool = False,
) -> Kept:
    return Kept(
        study, row.series_instance_uid, row.sop_instance_uid, row.sop_class_uid,
        row.transfer_syntax_uid, row.modality, row.sha256, path,
        is_prior=is_prior, is_held=is_held,
    )  # fmt: skip
