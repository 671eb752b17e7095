"""QIDO-RS (PS3.18 10.6): studies, series and instances, out of the rows and the stored headers.

What has a column is matched before any file is opened. What has none is read from the header of
one file a study or series, or of each instance, up to a limit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, keyword_for_tag
from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from db.tables import StudyRow
from triage.dicomweb import catalog, headers
from triage.dicomweb.catalog import Kept, Place
from triage.dicomweb.query import Key, Query, matches
from triage.errors import Broken, TriageError

COLUMNS: Final = {
    0x00080020: "study_date", 0x00080030: "study_time", 0x00080050: "accession_number",
    0x00081030: "study_description", 0x00100010: "patient_name", 0x00100020: "patient_id",
    0x00100021: "issuer_of_patient_id", 0x00100030: "patient_birth_date",
    0x00100040: "patient_sex", 0x0020000D: "study_instance_uid",
}  # fmt: skip
STUDY_TAGS: Final = (
    0x00080005, 0x00080020, 0x00080030, 0x00080050, 0x00080056, 0x00080061, 0x00080090,
    0x00080201, 0x00081190, 0x00100010, 0x00100020, 0x00100021, 0x00100030, 0x00100040,
    0x0020000D, 0x00200010, 0x00201206, 0x00201208,
)  # fmt: skip
"""PS3.18 Table 10.6.3-3, and the Issuer of Patient ID, without which an ID says little."""
SERIES_TAGS: Final = (
    0x00080005, 0x00080060, 0x00080201, 0x0008103E, 0x00081190, 0x0020000E, 0x00200011,
    0x00201209, 0x00400244, 0x00400245, 0x00400275,
)  # fmt: skip
INSTANCE_TAGS: Final = (
    0x00080005, 0x00080016, 0x00080018, 0x00080056, 0x00080201, 0x00081190, 0x00083002,
    0x00200013, 0x00280008, 0x00280010, 0x00280011, 0x00280100,
)  # fmt: skip
COMPUTED: Final = frozenset((0x00080056, 0x00080061, 0x00081190, 0x00201206, 0x00201208,
                             0x00201209, 0x00083002))  # fmt: skip
MODALITY, MODALITIES = 0x00080060, 0x00080061
ONLINE: Final = "ONLINE"
STUDY_LEVEL: Final = frozenset((*STUDY_TAGS, *COLUMNS)) - {0x00080005, 0x00080201, 0x00081190}


class TooBroad(TriageError):
    """Too many headers would have to be read: 413."""


@dataclass(slots=True)
class Search:
    """One search, and how many headers it may still read."""

    session: Session
    spool: Path
    base: str
    query: Query
    headers_left: int
    skipped: int = field(default=0)

    def run(self, level: str, place: Place) -> tuple[list[dict[str, Any]], bool]:
        """Give the matches at "studies", "series" or "instances", and whether there are more.

        Raises:
            TooBroad: it looked at as many headers as it may.
        """
        found: list[dict[str, Any]] = []
        for one in self._matches(level, place):
            if self.skipped < self.query.offset:
                self.skipped += 1
                continue
            if len(found) >= self.query.limit:
                return found, True
            found.append(self._shown(one, self._tags(level, place)))
        return found, False

    def _matches(self, level: str, place: Place) -> Iterator["_Match"]:
        for study in self._studies(place):
            if level == "studies":
                yield study
                continue
            yield from self._inside(level, place, study)

    def _inside(self, level: str, place: Place, study: "_Match") -> Iterator["_Match"]:
        keys = self.query.besides(STUDY_LEVEL)
        whole = sorted(study.kept, key=lambda one: one.series_instance_uid)
        for uid, group in groupby(whole, key=lambda one: one.series_instance_uid):
            kept = list(group)
            if place.series not in {"", uid}:
                continue
            series = self._match(kept, _series_facts(study.facts, kept))
            on_series = [key for key in keys if level == "series" or key.tag in SERIES_TAGS]
            if not self._fits(series, on_series):
                continue
            if level == "series":
                yield series
                continue
            for one in kept:
                match = self._match([one], _instance_facts(series.facts, one))
                if self._fits(match, [key for key in keys if key.tag not in SERIES_TAGS]):
                    yield match

    def _studies(self, place: Place) -> Iterator["_Match"]:
        keys = self.query.of(STUDY_LEVEL) if place.study else self._study_keys()
        for row in catalog.studies(self.session, _conditions(keys, place)):
            facts = _columns(row)
            if not matches(facts, [key for key in keys if key.tag in COLUMNS]):
                continue
            yield from self._study(row.study_instance_uid, facts, keys)
        for uid in catalog.prior_studies(self.session):
            if place.study in {"", uid}:
                yield from self._study(uid, Dataset(), keys)

    def _study_keys(self) -> tuple[Key, ...]:
        return self.query.of(STUDY_LEVEL)

    def _study(self, uid: str, facts: Dataset, keys: tuple[Key, ...]) -> Iterator["_Match"]:
        kept = catalog.instances(self.session, self.spool, Place(uid))
        if not kept:
            return
        match = self._match(kept, _study_facts(facts, uid, kept))
        if self._fits(match, keys):
            yield match

    def _match(self, kept: list[Kept], facts: Dataset) -> "_Match":
        return _Match(kept, facts, lambda: self._header(kept[0]))

    def _fits(self, match: "_Match", keys: tuple[Key, ...] | list[Key]) -> bool:
        """Match what is known, then, only if there is more to match, the header."""
        known = [key for key in keys if key.tag in match.facts]
        rest = [key for key in keys if key.tag not in match.facts]
        return matches(match.facts, known) and (not rest or matches(match.header(), rest))

    def _header(self, kept: Kept) -> Dataset:
        if self.headers_left <= 0:
            msg = "The query is too broad: name a study, a patient or a date."
            raise TooBroad(msg)
        self.headers_left -= 1
        wanted = {*STUDY_TAGS, *SERIES_TAGS, *INSTANCE_TAGS, *COLUMNS, *self.query.fields}
        wanted |= {key.tag for key in self.query.keys}
        try:
            return headers.read(kept.path, None if self.query.every_field else wanted)
        except (FileNotFoundError, Broken):
            return Dataset()  # its row still says what it is

    def _tags(self, level: str, place: Place) -> set[int]:
        tags = {"studies": STUDY_TAGS, "series": SERIES_TAGS, "instances": INSTANCE_TAGS}[level]
        found = {*tags, *self.query.fields, *(key.tag for key in self.query.keys)}
        if level != "studies":
            found |= {0x0020000D} if place.study else set(STUDY_TAGS)
        if level == "instances":
            found |= {0x0020000E, MODALITY} if place.series else set(SERIES_TAGS)
        return found

    def _shown(self, match: "_Match", tags: set[int]) -> dict[str, Any]:
        header, facts = match.header(), match.facts
        place = f"{self.base}{match.place.path}"
        whole = Dataset()
        wanted = set(map(int, header.keys())) if self.query.every_field else set()
        for tag in sorted(tags | wanted):
            if tag in facts:
                whole[tag] = facts[tag]
            elif tag in header and tag not in COMPUTED:
                whole[tag] = header[tag]
        if 0x00081190 in tags:
            whole.RetrieveURL = place
        return headers.to_json(whole, f"{place}/bulkdata")


@dataclass(slots=True)
class _Match:
    """A study, series or instance: its files, what the rows say, and its first file's header."""

    kept: list[Kept]
    facts: Dataset
    read: Callable[[], Dataset]
    _header: Dataset | None = None

    def header(self) -> Dataset:
        if self._header is None:
            self._header = self.read()
        return self._header

    @property
    def place(self) -> Place:
        first = self.kept[0]
        series = first.series_instance_uid if 0x0020000E in self.facts else ""
        instance = first.sop_instance_uid if 0x00080018 in self.facts else ""
        return Place(first.study_instance_uid, series, instance)


def _conditions(keys: tuple[Key, ...], place: Place) -> list[ColumnElement[bool]]:
    """Give what the database can say no to at once. What it lets through is matched again."""
    found: list[ColumnElement[bool]] = []
    if place.study:
        found.append(StudyRow.study_instance_uid == place.study)
    for key in keys:
        column = getattr(StudyRow, COLUMNS.get(key.tag, ""), None)
        if column is None or len(key.path) > 1:
            continue
        if key.tag == 0x0020000D:
            found.append(column.in_(key.value.replace("\\", ",").split(",")))
        elif key.tag == 0x00080020:
            found += _date_conditions(column, key.value)
        elif key.tag in {0x00100020, 0x00080050} and not set("*?") & set(key.value):
            found.append(column == key.value)
    return found


def _date_conditions(column: Any, value: str) -> list[ColumnElement[bool]]:  # noqa: ANN401 - a column
    first, dash, last = value.partition("-")
    if not dash:
        return [column == value]
    return [*([column >= first] if first else []), *([column <= last] if last else [])]


def _columns(row: StudyRow) -> Dataset:
    facts = Dataset()
    for tag, name in COLUMNS.items():
        _set(facts, tag, getattr(row, name))
    return facts


def _study_facts(facts: Dataset, uid: str, kept: list[Kept]) -> Dataset:
    _set(facts, 0x0020000D, uid)
    _set(facts, 0x00080056, ONLINE)
    _set(facts, MODALITIES, sorted({one.modality for one in kept if one.modality}))
    _set(facts, 0x00201206, len({one.series_instance_uid for one in kept}))
    _set(facts, 0x00201208, len(kept))
    return facts


def _series_facts(of_study: Dataset, kept: list[Kept]) -> Dataset:
    facts = Dataset()
    facts.update(of_study)
    _set(facts, MODALITY, kept[0].modality)
    _set(facts, 0x0020000E, kept[0].series_instance_uid)
    _set(facts, 0x00201209, len(kept))
    return facts


def _instance_facts(of_series: Dataset, one: Kept) -> Dataset:
    facts = Dataset()
    facts.update(of_series)
    _set(facts, 0x00080016, one.sop_class_uid)
    _set(facts, 0x00080018, one.sop_instance_uid)
    _set(facts, 0x00083002, one.transfer_syntax_uid)
    return facts


def _set(facts: Dataset, tag: int, value: Any) -> None:  # noqa: ANN401 - as pydicom takes it
    if value not in ("", None, []):
        facts.add_new(tag, dictionary_VR(keyword_for_tag(tag)), value)
