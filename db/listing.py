"""The worklist's order, read by keyset: no OFFSET, no sort over the table.

A list is a row of *bands* from top to bottom; a band merges *runs*, each of which an index gives in
order. In the default order a band is one priority; the lowest band above routine also holds the
routine studies that have waited unread longer than the ageing limit (Baltruschat et al., Eur Radiol
2021: prioritising without such a limit raises the longest waiting time).

Lists of few members are looked up and sorted by themselves: an index of the order would find them
only by passing every other study.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from heapq import merge
from itertools import islice
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Select, case, func, literal, or_, select, true, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.narrow import EVERYTHING, Filters
from db.reader_claims import studies_of
from db.states import StudyState
from db.tables import StudyRow

ROUTINE: Final = 0
AGED: Final = 1
"""The band of studies that waited unread too long: the lowest above routine."""
JUST_OPENED: Final = timedelta(hours=1)
"""For so long whoever opened an aged study is led on from where it stood."""
WORKING: Final = (StudyState.RECEIVING, StudyState.READY, StudyState.ANALYSED)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
MAX_WHOLE: Final = 2**62
Columns = tuple[InstrumentedAttribute[Any], ...]


class Listing(StrEnum):
    """The predefined lists. ``ALL`` holds every received study."""

    ALL = "all"
    UNREAD = "unread"
    """Nobody has opened what the study holds now."""
    PRIORITISED = "prioritised"
    MINE = "mine"
    """Claimed by whoever looks."""
    NOT_PRIORITISED = "not prioritised"
    PENDING = "pending"
    NOT_ANALYSED = "not analysed"
    HELD = "held"
    FAILED = "failed"
    OVERDUE = "overdue"


FEW: Final = (Listing.MINE, Listing.OVERDUE)
"""The lists with few members in a table of many studies."""


class Order(StrEnum):
    """How a list is sorted."""

    PRIORITY = "priority"
    """Highest priority first, then the longest waiting."""
    RANK = "rank"
    """Rarest among the healthy calibration studies first; studies without a rank last."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The moment a list is read at, and the two limits that depend on it."""

    as_of: datetime
    promote_after: timedelta
    overdue_after: timedelta

    @property
    def aged_before(self) -> datetime:
        """Give the arrival at or before which a study has waited too long."""
        return self.as_of - self.promote_after

    @property
    def overdue_before(self) -> datetime:
        """Give the last arrival at or before which an unfinished study is overdue."""
        return self.as_of - self.overdue_after

    def promotes(self, study: StudyRow) -> bool:
        """Tell whether only the time it has waited unread puts the study above routine."""
        return self._is_aged(study) and study.opened_at is None

    def promoted_lately(self, study: StudyRow) -> bool:
        """Tell whether it stood above routine by that until a moment ago.

        Whoever opened it goes on from there to the next one that waits.
        """
        opened = study.opened_at
        return self._is_aged(study) and (opened is None or opened > self.as_of - JUST_OPENED)

    def _is_aged(self, study: StudyRow) -> bool:
        return study.priority == ROUTINE and study.received_at <= self.aged_before

    def is_overdue(self, study: StudyRow) -> bool:
        """Tell whether the study should have come to rest by now."""
        return study.state in WORKING and study.last_instance_at <= self.overdue_before


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list: the sort key of one of its studies."""

    as_of: datetime
    """When the first page was read: while paging, promotion moves nothing."""
    level: int
    """Of the band."""
    key: tuple[float, ...]
    """The run's columns as numbers, the study's id last."""

    def __str__(self) -> str:
        parts = (_number(self.as_of), self.level, *self.key)
        return "~".join(repr(part) for part in parts)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a cursor back from its text.

        Raises:
            ValueError: it is none of ours.
        """
        as_of, level, *key = text.split("~")
        if not 1 <= len(key) <= 3:
            msg = "not a cursor"
            raise ValueError(msg)
        return cls(_moment(int(as_of)), int(level), tuple(map(_parse_number, key)))


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    studies: tuple[StudyRow, ...]
    after: Cursor | None
    """Where the next page begins; None on the last."""


@dataclass(frozen=True, slots=True)
class Band:
    """Runs that stand together, merged by the same columns."""

    level: int
    """Bands stand in falling order of it."""
    columns: Columns
    runs: tuple[ColumnElement[bool], ...]
    falling: bool = False

    def key(self, study: StudyRow) -> tuple[float, ...]:
        """Give the study's place in the band."""
        return tuple(_number(getattr(study, column.key)) for column in self.columns)


@dataclass(frozen=True, slots=True)
class Worklist:
    """One list in one order at one moment."""

    listing: Listing
    order: Order
    clock: Clock
    filters: Filters = EVERYTHING
    user_id: int = 0
    """Who looks; nobody's list of own studies is empty."""

    def page(self, session: Session, *, limit: int, after: Cursor | None = None) -> Page:
        """Give up to ``limit`` studies behind ``after``.

        Raises:
            ValueError: the cursor belongs to another order.
        """
        found = list(islice(self._walk(session, after, limit + 1), limit + 1))
        last = found[limit - 1] if len(found) > limit else None
        return Page(
            tuple(study for _, study in found[:limit]),
            Cursor(self.clock.as_of, last[0].level, last[0].key(last[1])) if last else None,
        )

    def neighbours(self, session: Session, study: StudyRow) -> tuple[int | None, int | None]:
        """Give the ids of the studies before and after one in this list."""
        here = self.place(session, study)
        before = next(self._walk(session, here, 1, back=True), None)
        behind = next(self._walk(session, here, 1), None)
        return (before[1].id if before else None, behind[1].id if behind else None)

    def place(self, session: Session, study: StudyRow) -> Cursor:
        """Give the place of a study, whether it is in this list or not."""
        if self.order == Order.RANK:
            level = int(study.rank is not None and study.score is not None)
        else:
            level = AGED if self.clock.promoted_lately(study) else study.priority
        band = next(band for band in self._bands(session) if band.level <= level)
        return Cursor(self.clock.as_of, band.level, band.key(study))

    def _walk_few(
        self, session: Session, start: Cursor | None, limit: int, *, back: bool
    ) -> Iterator[tuple[Band, StudyRow]]:
        """Walk a list by its members: an index of the order would pass all the other studies."""
        bands = {band.level: band for band in self._bands(session)}
        known = [(or_(*band.runs), band.level) for band in bands.values()]
        level = case(*known[:-1], else_=known[-1][1])
        wanted = select(StudyRow.id, level).where(self._kept())
        if start is not None:
            further = level > start.level if back else level < start.level
            if start.level in bands:
                band = bands[start.level]
                here = _behind(band, start.key, falling=band.falling != back)
                further |= (level == start.level) & here
            wanted = wanted.where(further)
        order = [level.asc() if back else level.desc()]
        for columns, falling, levels in _kinds(bands.values()):
            own = [case((level.in_(levels), column)) for column in columns]
            order += [one.desc() if falling != back else one.asc() for one in own]
        found = session.execute(wanted.order_by(*order).limit(limit)).all()
        numbers = [number for number, _ in found]
        rows = session.scalars(select(StudyRow).where(StudyRow.id.in_(numbers)))
        studies = {study.id: study for study in rows}
        yield from ((bands[at], studies[number]) for number, at in found if number in studies)

    def _walk(
        self, session: Session, start: Cursor | None, limit: int, *, back: bool = False
    ) -> Iterator[tuple[Band, StudyRow]]:
        if self.listing in FEW:
            yield from self._walk_few(session, start, limit, back=back)
            return
        bands, kept = self._bands(session), self._kept()
        for band in reversed(bands) if back else bands:
            if start and (band.level < start.level if back else band.level > start.level):
                continue
            here = start.key if start and start.level == band.level else None
            falling = band.falling != back
            rows = (
                session.scalars(_query(band, kept & run, here, falling=falling).limit(limit))
                for run in band.runs
            )
            for study in merge(*rows, key=band.key, reverse=falling):
                yield band, study

    def _kept(self) -> ColumnElement[bool]:
        return condition(self.listing, self.clock, self.user_id) & self.filters.condition()

    def _bands(self, session: Session) -> list[Band]:
        if self.order == Order.RANK:
            ranked, scored = StudyRow.rank.is_not(None), StudyRow.score.is_not(None)
            best = (StudyRow.rank, StudyRow.score, StudyRow.id)
            return [
                Band(1, best, (ranked & scored,), falling=True),
                Band(0, (StudyRow.id,), (~ranked, ranked & ~scored)),
            ]
        aged = StudyRow.received_at <= self.clock.aged_before
        unread = StudyRow.opened_at.is_(None)
        waited = (StudyRow.received_at, StudyRow.id)
        runs = {level: [_of_level(level)] for level in _levels(session)}
        runs[AGED].append(_of_level(ROUTINE) & aged & unread)
        runs[ROUTINE] = [_of_level(ROUTINE) & ~aged, _of_level(ROUTINE) & aged & ~unread]
        return [Band(level, waited, tuple(runs[level])) for level in sorted(runs, reverse=True)]


def _query(
    band: Band, run: ColumnElement[bool], start: tuple[float, ...] | None, *, falling: bool
) -> Select[StudyRow]:
    statement = select(StudyRow).where(run)
    if start is not None:
        statement = statement.where(_behind(band, start, falling=falling))
    return statement.order_by(*(one.desc() if falling else one.asc() for one in band.columns))


def _behind(band: Band, start: tuple[float, ...], *, falling: bool) -> ColumnElement[bool]:
    if len(start) != len(band.columns):
        msg = "the cursor belongs to another order"
        raise ValueError(msg)
    pairs = zip(band.columns, start, strict=True)
    here = tuple_(*(literal(_value(column, one), column.type) for column, one in pairs))
    place = tuple_(*band.columns)
    return place < here if falling else place > here


def _kinds(bands: Iterable[Band]) -> list[tuple[Columns, bool, list[int]]]:
    """Give the ways in which bands are sorted, each with the levels sorted so."""
    found: dict[tuple[Columns, bool], list[int]] = {}
    for band in bands:
        found.setdefault((band.columns, band.falling), []).append(band.level)
    return [(*kind, levels) for kind, levels in found.items()]


def _steps() -> Select[int]:
    top = select(func.max(StudyRow.priority).label("level")).cte("top", recursive=True)
    below = select(func.max(StudyRow.priority)).where(StudyRow.priority < top.c.level)
    found = top.union_all(select(below.scalar_subquery()).where(top.c.level.is_not(None)))
    return select(found.c.level)


LEVELS: Final = _steps()


@lru_cache(maxsize=64)
def _of_level(level: int) -> ColumnElement[bool]:
    """Ask for a priority; made once, because every list asks for the same few."""
    return StudyRow.priority == level


def _levels(session: Session) -> set[int]:
    """Give every priority in use and the two that always have a band; one index step for each."""
    return {AGED, ROUTINE, *(one for one in session.scalars(LEVELS) if one)}


def condition(listing: Listing, clock: Clock, user_id: int) -> ColumnElement[bool]:
    """Give what the studies of a list have in common."""
    if listing == Listing.ALL:
        return true()
    if listing == Listing.UNREAD:
        return StudyRow.opened_at.is_(None)
    if listing == Listing.MINE:
        return StudyRow.id.in_(studies_of(user_id, clock.as_of))
    if listing == Listing.OVERDUE:
        return StudyRow.state.in_(WORKING) & (StudyRow.last_instance_at <= clock.overdue_before)
    return StudyRow.outcome == listing


def _number(value: datetime | float) -> float:
    return (value - EPOCH) // MICROSECOND if isinstance(value, datetime) else value


def _moment(microseconds: float) -> datetime:
    try:
        return max(EPOCH, EPOCH + int(microseconds) * MICROSECOND)
    except OverflowError:
        msg = "no such time"
        raise ValueError(msg) from None


def _value(column: InstrumentedAttribute[Any], number: float) -> datetime | float:
    return _moment(number) if column.key == StudyRow.received_at.key else number


def _parse_number(text: str) -> float:
    """Read a number; whole ones no larger than a database takes."""
    if not text.lstrip("-").isdigit():
        return float(text)
    number = int(text)
    if abs(number) >= MAX_WHOLE:
        msg = "not a cursor"
        raise ValueError(msg)
    return number
