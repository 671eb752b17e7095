import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy import delete, event

from db.base import Base
from db.engine import Database, connect
from db.listing import WORKING, Clock, Cursor, Listing, Order, Worklist
from db.narrow import Choices, Filters, choices
from db.reader_claims import ReaderClaimRow
from db.states import StudyState
from db.tables import StudyRow, UserRow

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
CLOCK = Clock(NOW, promote_after=timedelta(hours=4), overdue_after=timedelta(minutes=15))
NO_OUTCOMES = {Listing.ALL, Listing.OVERDUE, Listing.UNREAD, Listing.MINE}
OUTCOMES = [one.value for one in Listing if one not in NO_OUTCOMES]
STUDIES = st.lists(
    st.fixed_dictionaries(
        {
            "minutes": st.integers(0, 600),
            "priority": st.integers(0, 3),
            "outcome": st.sampled_from(OUTCOMES),
            "state": st.sampled_from(list(StudyState)),
            "rank": st.none() | st.floats(0, 1).map(lambda one: round(one, 2)),
            "score": st.none() | st.floats(allow_nan=False),
            "opened_at": st.none() | st.just(NOW),
            "modality": st.sampled_from(["", "CT", "DX"]),
            "body_part": st.sampled_from(["CHEST", "HEAD"]),
            "source_ae_title": st.sampled_from(["ROOM_1", "ROOM_2"]),
            "institution_name": st.sampled_from(["", "H\u00f4pital"]),
        }
    ),
    max_size=40,
)


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Database]:
    database = connect(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    Base.metadata.create_all(database.engine)
    yield database
    database.dispose()


def fill(database: Database, studies: list[dict[str, Any]]) -> list[StudyRow]:
    with database.begin() as session:
        session.execute(delete(StudyRow))
        added = []
        for number, given_values in enumerate(studies):
            values = dict(given_values)
            arrived = NOW - timedelta(minutes=values.pop("minutes"))
            added.append(
                StudyRow(
                    study_instance_uid=f"2.25.{number}", due_at=arrived, received_at=arrived,
                    last_instance_at=arrived, **values,
                )
            )  # fmt: skip
        session.add_all(added)
        return added


def read(database: Database, worklist: Worklist, limit: int) -> list[StudyRow]:
    """Give a whole list, page by page, through the cursor's text."""
    found: list[StudyRow] = []
    after: Cursor | None = None
    while True:
        with database.reading() as session:
            page = worklist.page(session, limit=limit, after=after)
        assert len(page.studies) <= limit
        found += page.studies
        if page.after is None:
            return found
        after = Cursor.parse(str(page.after))


def expected(studies: list[StudyRow], worklist: Worklist) -> list[StudyRow]:
    """Give the same list, by filtering and sorting in memory."""
    return sorted(
        (one for one in studies if belongs(one, worklist.listing)),
        key=by_rank if worklist.order == Order.RANK else by_priority,
    )


def belongs(study: StudyRow, listing: Listing) -> bool:
    if listing == Listing.OVERDUE:
        return study.state in WORKING and study.last_instance_at <= NOW - CLOCK.overdue_after
    if listing in {Listing.UNREAD, Listing.MINE}:  # nobody has claimed anything here
        return listing == Listing.UNREAD and study.opened_at is None
    return listing == Listing.ALL or study.outcome == listing


def by_priority(study: StudyRow) -> tuple[float, datetime, int]:
    aged = study.received_at <= NOW - CLOCK.promote_after and study.opened_at is None
    level = 1 if study.priority == 0 and aged else study.priority
    return -level, study.received_at, study.id


def by_rank(study: StudyRow) -> tuple[float, ...]:
    if study.rank is None or study.score is None:
        return 1, study.id
    return 0, -study.rank, -study.score, -study.id


def numbers(studies: list[StudyRow]) -> list[int]:
    return [study.id for study in studies]


@pytest.mark.parametrize("order", Order)
@given(studies=STUDIES, listing=st.sampled_from(Listing), limit=st.integers(1, 9))
@effort(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_give_every_study_of_the_list_once_and_in_order(
    tables: Database, order: Order, studies: list[dict[str, Any]], listing: Listing, limit: int
) -> None:
    added = fill(tables, studies)
    worklist = Worklist(listing, order, CLOCK)
    assert numbers(read(tables, worklist, limit)) == numbers(expected(added, worklist))


@given(
    studies=STUDIES,
    listing=st.sampled_from(Listing),
    filters=st.builds(
        Filters,
        modality=st.sampled_from(["", "CT", "DX", "MR"]),
        body_part=st.sampled_from(["", "CHEST"]),
        source=st.sampled_from(["", "ROOM_2"]),
        site=st.sampled_from(["", "H\u00f4pital"]),
        since=st.none() | st.integers(0, 600).map(lambda one: NOW - timedelta(minutes=one)),
        until=st.none() | st.integers(0, 600).map(lambda one: NOW - timedelta(minutes=one)),
    ),
)
@effort(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_filters_leave_what_meets_all_of_them_and_its_order(
    tables: Database, studies: list[dict[str, Any]], listing: Listing, filters: Filters
) -> None:
    added = fill(tables, studies)
    worklist = Worklist(listing, Order.PRIORITY, CLOCK, filters)
    left = [one for one in expected(added, worklist) if meets(one, filters)]
    assert numbers(read(tables, worklist, 7)) == numbers(left)


def meets(study: StudyRow, filters: Filters) -> bool:
    return (
        filters.modality in {"", study.modality}
        and filters.body_part in {"", study.body_part}
        and filters.source in {"", study.source_ae_title}
        and filters.site in {"", study.institution_name}
        and (filters.since is None or study.received_at >= filters.since)
        and (filters.until is None or study.received_at < filters.until)
    )


def test_few_of_one_kind_are_found_by_an_index_over_modality_and_body_part(
    sqlite_database: Database,
) -> None:
    fill(sqlite_database, [study(1) | {"modality": "MR", "body_part": "HEAD"} for _ in range(9)])
    asked: list[tuple[str, Any]] = []
    event.listen(
        sqlite_database.readers,
        "before_cursor_execute",
        lambda _c, _cursor, statement, values, _x, _many: asked.append((statement, values)),
    )
    kind = Filters(modality="MR", body_part="CHEST")
    for listing in (Listing.ALL, Listing.UNREAD, Listing.NOT_PRIORITISED):
        assert read(sqlite_database, Worklist(listing, Order.PRIORITY, CLOCK, kind), 9) == []
    plans = []
    with sqlite_database.bare() as connection:
        for statement, values in asked:
            if "modality = ?" not in statement:
                continue
            plans.append(connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall())
    assert plans
    for plan in plans:
        assert any("ix_study_kind (modality=? AND body_part=?" in row[3] for row in plan), plan


def test_the_choices_of_the_filters_are_what_there_is(tables: Database) -> None:
    rows = [study(1) | {"modality": one} for one in ("MR", "", "CT", "MR")]
    rows[0]["institution_name"] = "Clinic"
    fill(tables, rows)
    with tables.reading() as session:
        found = choices(session)
    assert found == Choices(("CT", "MR"), (), (), ("Clinic",))


@pytest.mark.parametrize("order", Order)
def test_both_databases_agree_on_every_list(database: Database, order: Order) -> None:
    dice = random.Random(3)
    added = fill(
        database,
        [
            {
                "minutes": dice.randrange(600), "priority": dice.randrange(3),
                "outcome": dice.choice(OUTCOMES), "state": dice.choice(list(StudyState)),
                "rank": dice.choice([None, 0.5, 0.99, dice.random()]), "score": dice.random(),
            }
            for _ in range(60)
        ],
    )  # fmt: skip
    for listing in Listing:
        worklist = Worklist(listing, order, CLOCK)
        assert numbers(read(database, worklist, 7)) == numbers(expected(added, worklist))


def user(number: int) -> UserRow:
    return UserRow(
        id=number, name=f"reader{number}", password_hash="-", role="radiologist", created_at=NOW
    )  # fmt: skip


def claim(
    study: StudyRow, user_id: int, *, until: datetime, ended_at: datetime | None = None
) -> ReaderClaimRow:
    return ReaderClaimRow(
        study_id=study.id, user_id=user_id, owner=f"reader{user_id}", claimed_at=NOW,
        expires_at=until, ended_at=ended_at, changed_at=NOW,
    )  # fmt: skip


def study(minutes: int, priority: int = 0) -> dict[str, Any]:
    return {"minutes": minutes, "priority": priority, "outcome": "pending"}


class TestTheAgeingLimit:
    def test_puts_a_study_that_waited_too_long_above_routine_and_among_the_raised(
        self, tables: Database
    ) -> None:
        high, raised, aged, routine = fill(
            tables, [study(1, 2), study(10, 1), study(241), study(239)]
        )
        worklist = Worklist(Listing.ALL, Order.PRIORITY, CLOCK)
        order = numbers(read(tables, worklist, 50))
        assert order == numbers([high, aged, raised, routine])
        assert [CLOCK.promotes(one) for one in (high, raised, aged, routine)] == [
            False, False, True, False,
        ]  # fmt: skip

    def test_moves_nothing_while_a_person_pages(self, tables: Database) -> None:
        fill(tables, [study(239 - number) for number in range(6)])
        before = Worklist(Listing.ALL, Order.PRIORITY, CLOCK)
        with tables.reading() as session:
            first = before.page(session, limit=3)
            assert first.after is not None
            later = Clock(first.after.as_of, CLOCK.promote_after, CLOCK.overdue_after)
            rest = Worklist(Listing.ALL, Order.PRIORITY, later).page(
                session, limit=50, after=first.after
            )
        assert len({*numbers([*first.studies]), *numbers([*rest.studies])}) == 6

    def test_lets_go_of_what_was_read(self, tables: Database) -> None:
        """However long ago it came: else the read ones of a month hide what is new."""
        read_ones = [study(minutes) | {"opened_at": NOW} for minutes in range(40_000, 40_060)]
        *_, raised, aged, routine = fill(tables, [*read_ones, study(5, 1), study(300), study(3)])
        order = numbers(read(tables, Worklist(Listing.ALL, Order.PRIORITY, CLOCK), 50))
        assert order[:2] == numbers([aged, raised])
        assert order[-1] == routine.id
        assert [CLOCK.promotes(one) for one in (aged, raised)] == [True, False]

    def test_leads_from_one_that_was_just_opened_to_the_next_that_waits(
        self, tables: Database
    ) -> None:
        just = NOW - timedelta(minutes=2)
        first, opened, last, _ = fill(
            tables,
            [study(400), study(350) | {"opened_at": just}, study(300), study(3)],
        )
        for listing in (Listing.ALL, Listing.UNREAD):
            worklist = Worklist(listing, Order.PRIORITY, CLOCK)
            with tables.reading() as session:
                assert worklist.neighbours(session, opened) == (first.id, last.id)
        assert not CLOCK.promotes(opened)

    def test_demotes_nothing(self, tables: Database) -> None:
        (old,) = fill(tables, [study(100_000, 2)])
        assert not CLOCK.promotes(old)


@pytest.mark.parametrize("order", Order)
def test_neighbours_are_the_ones_before_and_after_in_the_list(
    tables: Database, order: Order
) -> None:
    dice = random.Random(5)
    fill(
        tables,
        [
            study(dice.randrange(600), dice.randrange(3))
            | {"rank": dice.choice([None, 0.9, 0.95]), "score": 1.0}
            for _ in range(20)
        ],
    )
    assert_neighbours(tables, Worklist(Listing.ALL, order, CLOCK), 20)


def assert_neighbours(tables: Database, worklist: Worklist, count: int) -> None:
    whole = read(tables, worklist, 50)
    assert len(whole) == count
    ids = [None, *numbers(whole), None]
    with tables.reading() as session:
        for place, one in enumerate(whole):
            assert worklist.neighbours(session, one) == (ids[place], ids[place + 2])


def test_a_study_outside_the_list_has_neighbours_in_it(tables: Database) -> None:
    first, outside, last = fill(tables, [study(30), study(20) | {"outcome": "failed"}, study(10)])
    with tables.reading() as session:
        found = Worklist(Listing.PENDING, Order.PRIORITY, CLOCK).neighbours(session, outside)
    assert found == (first.id, last.id)


@pytest.mark.parametrize("order", Order)
class TestTheListsOfFew:
    """Those that are read by their members."""

    def test_overdue_studies_have_their_neighbours(self, tables: Database, order: Order) -> None:
        at_rest = self.some(5, state=StudyState.HELD)
        added = fill(tables, self.some(40, state=StudyState.READY) + at_rest)
        worklist = Worklist(Listing.OVERDUE, order, CLOCK)
        overdue = expected(added, worklist)
        assert 20 < len(overdue) < 41
        assert numbers(read(tables, worklist, 50)) == numbers(overdue)
        assert_neighbours(tables, worklist, len(overdue))

    def test_mine_are_those_i_claimed_and_nobody_elses(
        self, tables: Database, order: Order
    ) -> None:
        studies = fill(tables, self.some(24))
        own, other, lapsed, given_back = (studies[first::4] for first in range(4))
        soon, before = NOW + timedelta(hours=1), NOW - timedelta(minutes=1)
        with tables.begin() as session:
            session.add_all(user(number) for number in (1, 2))
            session.flush()
            session.add_all(claim(one, 1, until=soon) for one in own)
            session.add_all(claim(one, 2, until=soon) for one in other)
            session.add_all(claim(one, 1, until=before) for one in lapsed)
            session.add_all(claim(one, 1, until=soon, ended_at=before) for one in given_back)
        worklist = Worklist(Listing.MINE, order, CLOCK, user_id=1)
        key = by_rank if order == Order.RANK else by_priority
        assert numbers(read(tables, worklist, 3)) == numbers(sorted(own, key=key))
        assert_neighbours(tables, worklist, len(own))

    @staticmethod
    def some(count: int, **given_values: object) -> list[dict[str, Any]]:
        dice = random.Random(7)
        return [
            study(dice.randrange(600), dice.randrange(3))
            | {"rank": dice.choice([None, 0.9, 0.95]), "score": 1.0}
            | given_values
            for _ in range(count)
        ]


class TestACursor:
    @given(
        st.integers(0, 4_000_000_000_000_000),
        st.integers(0, 9),
        st.tuples(st.floats(allow_nan=False), st.integers(0, 9)),
    )
    def test_comes_back_from_its_text(
        self, micros: int, level: int, key: tuple[float, int]
    ) -> None:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
        cursor = Cursor(at, level, key)
        assert Cursor.parse(str(cursor)) == cursor

    @pytest.mark.parametrize(
        "text",
        ["", "x", "1~1", "9" * 40 + "~1~1~1", "1~1~1~1~1~1", "1~x~1", "~~~", f"1~1~{2**62}"],
    )
    def test_that_is_none_of_ours_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r".*"):
            Cursor.parse(text)

    def test_of_another_order_is_refused(self, tables: Database) -> None:
        fill(tables, [study(1)])
        alien = Cursor(NOW, 0, (1, 2))
        with tables.reading() as session, pytest.raises(ValueError, match="another order"):
            Worklist(Listing.ALL, Order.RANK, CLOCK).page(session, limit=5, after=alien)

    def test_with_a_time_no_database_knows_is_refused(self, tables: Database) -> None:
        fill(tables, [study(1)])
        with tables.reading() as session, pytest.raises(ValueError, match="no such time"):
            Worklist(Listing.ALL, Order.PRIORITY, CLOCK).page(
                session, limit=5, after=Cursor(NOW, 0, (2**60, 1))
            )
