"""The page on security is current, complete, and names tests that there are."""

import re
from functools import cache

import pytest

from tests.house import security
from tests.house.source import ROOT

REQUIREMENTS = security.REQUIREMENTS


def test_the_page_is_what_the_table_says() -> None:
    assert security.PAGE.read_text(encoding="utf-8") == security.page(), "run `make lists`"


def test_every_requirement_is_there_once_and_in_order() -> None:
    assert list(REQUIREMENTS) == [f"S{number}" for number in range(1, 49)]


@cache
def source(path: str) -> str:
    return (ROOT / "tests" / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_has_tests_that_exist_or_says_why_not(name: str) -> None:
    one = REQUIREMENTS[name]
    assert one.tests or "does not apply" in one.limit
    for test in one.tests:
        path, _, function = test.partition("::")
        assert re.search(rf"^\s*def {function}\(", source(path), re.MULTILINE), test


def test_who_finds_a_weakness_is_told_where_to_write() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "Report a vulnerability" in text
    assert "working days" in text
    for name in re.findall(r"\((docs/[\w-]+\.md)\)", text):
        assert (ROOT / name).is_file(), name
