from datetime import UTC, datetime
from itertools import product
from urllib.parse import parse_qsl

import pytest
from fastapi import HTTPException

from db.listing import Cursor, Listing, Order
from triage.worklist.asked import Asked, asked

CURSOR = Cursor(datetime(2026, 11, 21, tzinfo=UTC), 1, (1e20, -0.5, 7))


@pytest.mark.parametrize(
    "wanted",
    [Asked(*one) for one in product(Listing, Order, (None, CURSOR))],
)
def test_what_was_asked_comes_back_from_its_link(wanted: Asked) -> None:
    assert asked(**dict(parse_qsl(wanted.query.removeprefix("?")))) == wanted


def test_the_default_needs_no_query() -> None:
    assert Asked().query == ""
    assert asked() == Asked()


def test_another_list_or_order_begins_at_its_first_page() -> None:
    paged = Asked().behind(CURSOR)
    assert paged.of_list(Listing.HELD) == Asked(Listing.HELD)
    assert paged.sorted_by(Order.RANK) == Asked(order=Order.RANK)
    assert paged.first() == Asked()


@pytest.mark.parametrize(
    "query", [{"list": "mine"}, {"sort": "name"}, {"after": "x"}, {"after": "1~1~x"}]
)
def test_what_does_not_exist_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(HTTPException) as refused:
        asked(**query)
    assert refused.value.status_code == 400
