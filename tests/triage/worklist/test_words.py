from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.worklist import words


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("DOE^JANE", "DOE, JANE"),
        ("O'BRIEN^Siobhan^Mary^Dr^PhD", "O'BRIEN, Siobhan Mary"),
        ("Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", "Yamada, Tarou"),
        ("=\u5c71\u7530^\u592a\u90ce", "\u5c71\u7530, \u592a\u90ce"),
        ("DOE", "DOE"),
        ("^JANE", "JANE"),
        ("", words.MISSING),
        ("^^", words.MISSING),
        ("A" * 65_536 + "^B", "A" * words.LONGEST_NAME + "\u2026"),
    ],
)
def test_a_person_name_reads_family_then_given(name: str, shown: str) -> None:
    assert words.person(name) == shown


def test_marks_that_turn_the_text_around_them_are_left_out() -> None:
    turning = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    assert words.tamed(f"a{turning}b") == "ab"
    assert words.tamed("\u05d0\u05d1 \u0627") == "\u05d0\u05d1 \u0627"
    assert words.tamed(7) == 7


@pytest.mark.parametrize(
    ("born", "studied", "shown"),
    [
        ("19580314", "20261121", "68 y"),
        ("20250310", "20261121", "20 mo"),
        ("20261101", "20261121", "20 d"),
        ("20261121", "20261121", "0 d"),
        ("20261122", "20261121", ""),
        ("", "20261121", ""),
        ("1958", "20261121", ""),
    ],
)
def test_an_age_is_told_in_the_unit_that_fits(born: str, studied: str, shown: str) -> None:
    assert words.age(born, studied) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0 s"), (42, "42 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"),
        (11_520, "3 h 12 min"), (86_400, "1 d"), (183_600, "2 d 3 h"),
    ],
)  # fmt: skip
def test_a_wait_is_told_in_at_most_two_units(seconds: int, shown: str) -> None:
    assert words.waited(timedelta(seconds=seconds)) == shown


@pytest.mark.parametrize(
    ("text", "shown"), [("20261121", "2026-11-21"), ("2026.11.21", "2026.11.21"), ("", "")]
)
def test_a_date_that_is_none_is_shown_as_it_came(text: str, shown: str) -> None:
    assert words.day(text) == shown


@pytest.mark.parametrize(("text", "shown"), [("091205.123", "09:12"), ("09", ""), ("", "")])
def test_a_time_is_shown_in_hours_and_minutes(text: str, shown: str) -> None:
    assert words.clock(text) == shown


@pytest.mark.parametrize(
    ("rank", "shown"), [(0.9868, "98.68 %"), (0.5, "50 %"), (0.99999, "99.99 %"), (0.0, "0 %")]
)
def test_a_rank_never_rounds_up_to_all(rank: float, shown: str) -> None:
    assert words.share(rank) == shown


def test_moments_are_told_in_utc() -> None:
    at = datetime(2026, 11, 21, 9, 54, 3, 120_000, tzinfo=UTC)
    assert words.iso(at) == "2026-11-21T09:54:03.120Z"
    assert words.moment(at) == "2026-11-21 09:54 UTC"


@given(st.text(), st.text())
def test_no_value_from_a_data_set_breaks_a_word(one: str, other: str) -> None:
    for shown in (words.person(one), words.day(one), words.clock(one), words.age(one, other)):
        assert isinstance(shown, str)
