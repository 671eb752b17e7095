from datetime import UTC, date, datetime, timedelta
from itertools import product
from urllib.parse import parse_qsl

import pytest
from fastapi import HTTPException

from db.listing import Clock, Cursor, Listing, Order
from db.narrow import Filters
from triage.worklist.asked import Asked, Narrow, asked, parsed

NARROW = Narrow(
    "CT", "CHEST", "ROOM 1", "H\u00f4pital & Clinic", date(2026, 11, 1), date(2026, 11, 20), 7
)
CURSOR = Cursor(datetime(2026, 11, 21, tzinfo=UTC), 1, (1e20, -0.5, 7))


@pytest.mark.parametrize(
    "wanted",
    [Asked(*one) for one in product(Listing, Order, (None, CURSOR), (Narrow(), NARROW))],
)
def test_what_was_asked_comes_back_from_its_link(wanted: Asked) -> None:
    assert asked(**dict(parse_qsl(wanted.query.removeprefix("?")))) == wanted
    assert parsed(wanted.query) == wanted


def test_the_default_needs_no_query() -> None:
    assert Asked().query == ""
    assert asked() == Asked()


def test_another_list_or_order_begins_at_its_first_page() -> None:
    paged = Asked().behind(CURSOR)
    assert paged.of_list(Listing.HELD) == Asked(Listing.HELD)
    assert paged.sorted_by(Order.RANK) == Asked(order=Order.RANK)
    assert paged.first() == Asked()


@pytest.mark.parametrize(
    "query",
    [
        {"list": "yours"}, {"sort": "name"}, {"after": "x"}, {"after": "1~1~x"},
        {"modality": "DOE^JANE"}, {"body": "a longer text than a code"}, {"source": "A" * 17},
        {"source": "\\"}, {"site": "A" * 65}, {"site": "A\nB"}, {"since": "yesterday"},
        {"until": "0001-01-01"}, {"days": "x"},
        {"days": "99999"},
    ],
)  # fmt: skip
def test_what_does_not_exist_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(HTTPException) as refused:
        asked(**query)
    assert refused.value.status_code == 400


def test_an_unknown_key_is_refused_too() -> None:
    with pytest.raises(HTTPException):
        parsed("?name=DOE")


def test_days_are_whole_ones_and_the_last_of_them_counts() -> None:
    at = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    found = Narrow(since=date(2026, 11, 1), until=date(2026, 11, 20)).filters(at)
    assert found.since == datetime(2026, 11, 1).astimezone()
    assert found.until == datetime(2026, 11, 21).astimezone()
    today = at.astimezone().replace(hour=0, minute=0)
    assert Narrow(days=1).filters(at).since == today
    assert Narrow(days=7).filters(at).since == today - timedelta(days=6)
    assert Narrow(since=date(2026, 11, 20), days=7).filters(at).since is not None
    assert Narrow().filters(at) == Filters()


def test_a_list_is_read_as_of_its_first_page_by_whoever_looks() -> None:
    clock = Clock(datetime(2026, 11, 22, tzinfo=UTC), timedelta(hours=4), timedelta(minutes=15))
    found = Asked(narrow=NARROW).behind(CURSOR).worklist(clock, 7)
    assert found.clock.as_of == CURSOR.as_of
    assert found.user_id == 7
    assert found.filters.modality == "CT"
