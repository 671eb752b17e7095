"""Where a cohort's studies come from: a folder of DICOM files, or the spool asked by a query."""

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, select

from db import audit
from db.audit import Entry, Event
from db.purged import IS_GONE
from db.states import StudyState
from db.tables import StudyRow
from triage import record
from triage.assemble.header import read_header, text
from triage.errors import CodedError, ConfigError
from triage.spool import digest
from triage.study import InstanceRef, StudyRef

if TYPE_CHECKING:
    from db.engine import Database

UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+")
DOUBTFUL: Final = (StudyState.HELD, StudyState.FAILED)
"""Studies that wait for a person teach nothing."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which studies of the spool; empty is any. Words are as received, upper or lower case."""

    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    """Calling AE titles."""
    since: datetime | None = None
    """Received at or after, UTC."""
    until: datetime | None = None
    """Received before, UTC."""


@dataclass(frozen=True, slots=True)
class Found:
    """Studies, and how many files beside them are no DICOM."""

    studies: tuple[StudyRef, ...]
    strangers: int = 0


def in_folders(paths: Iterable[Path]) -> Found:
    """Group the files below the paths by study, in a stable order.

    One SOP instance in two files counts once; in two contents it keeps both, so that the study
    is refused, as it would be when received.
    """
    groups: dict[str, dict[tuple[str, str], InstanceRef]] = {}
    strangers = 0
    for path in _files(paths):
        study, instance = _uids(path)
        if not study or not instance:
            strangers += 1
            continue
        one = InstanceRef(instance, digest(path), path.absolute())
        groups.setdefault(study, {}).setdefault((instance, one.sha256), one)
    studies = tuple(
        StudyRef(number, uid, 1, "all files of the folder", tuple(instances.values()))
        for number, (uid, instances) in enumerate(sorted(groups.items()), start=1)
    )
    return Found(studies, strangers)


def _uids(path: Path) -> tuple[str, str]:
    """Give the UIDs of study and instance; empty where the file is no DICOM."""
    try:
        with warnings.catch_warnings():
            # pydicom's warnings quote values from data sets.
            warnings.simplefilter("ignore")
            header, _ = read_header(path)
            return text(header, "StudyInstanceUID"), text(header, "SOPInstanceUID")
    except (CodedError, OSError):
        return "", ""


def in_spool(database: "Database", spool: Path, query: Query, *, actor: str) -> Found:
    """Give the spool's studies that fit. Audited.

    Without those that wait for a person, and those of which retention deleted something.
    """
    wanted = select(StudyRow.id).where(*_conditions(query)).order_by(StudyRow.id)
    with database.begin() as session:
        numbers = tuple(session.scalars(wanted))
        refs = tuple(record.load_arrivals(session, number, spool) for number in numbers)
        entry = Entry(
            event=Event.QUERY, kind="cohort.asked", action="E", actor=actor, object_type="study",
            detail={"studies": len(refs)},
        )  # fmt: skip
        audit.record(session, entry)
    return Found(refs)


def read_uids(path: Path) -> frozenset[str]:
    """Give the Study Instance UIDs of a file, one a line; empty lines and # comments are skipped.

    Raises:
        ConfigError: the file cannot be read, or a line is no UID.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as why:
        msg = f"cannot read {path} ({type(why).__name__}): it holds one Study Instance UID a line"
        raise ConfigError(msg) from None
    found = set()
    for number, line in enumerate(lines, start=1):
        word = line.partition("#")[0].strip()
        if word and (len(word) > 64 or not UID.fullmatch(word)):
            msg = f"{path} line {number} is no Study Instance UID; correct it, or take it out"
            raise ConfigError(msg)
        found.add(word)
    return frozenset(found - {""})


def _conditions(query: Query) -> Iterator[ColumnElement[bool]]:
    yield StudyRow.state.not_in(DOUBTFUL)
    yield ~IS_GONE
    columns: tuple[tuple[Any, Sequence[str]], ...] = (
        (StudyRow.modality, query.modality),
        (StudyRow.body_part, query.body_part),
        (StudyRow.source_ae_title, query.source),
    )
    for column, words in columns:
        if words:
            yield column.in_([word.upper() for word in words])
    if query.since:
        yield StudyRow.received_at >= query.since
    if query.until:
        yield StudyRow.received_at < query.until


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(one for one in path.rglob("*") if one.is_file())
        else:
            yield path
