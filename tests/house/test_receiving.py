"""The pages on what is received: every row has its tests, and every test that it names exists."""

import ast
import re

import pytest

from tests.house.source import ROOT, functions

PAGE = (ROOT / "docs" / "receiving-content.md").read_text(encoding="utf-8")
STUDIES = (ROOT / "docs" / "completeness.md").read_text(encoding="utf-8")
ROWS = {
    cells[0]: cells[1:]
    for line in (PAGE + STUDIES).splitlines()
    if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 4
    and re.fullmatch(r"[BCD]\d+", cells[0])
}
CONTENT = [f"B{number}" for number in range(1, 21)]
WHOLE_STUDIES = [*(f"C{number}" for number in range(1, 13)), "D8"]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_row_is_there_once_and_filled() -> None:
    assert list(ROWS) == CONTENT + WHOLE_STUDIES
    assert all(all(cells) for cells in ROWS.values())


@pytest.mark.parametrize("row", ROWS)
def test_every_test_of_a_row_exists(row: str) -> None:
    named = NAMED.findall(ROWS[row][2])
    assert named
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {one.name for one in functions(tree)}, f"{path}::{name}"


def test_every_file_it_names_exists() -> None:
    for name in re.findall(r"`(tests/[\w/]+\.yaml)`", PAGE):
        assert (ROOT / name).is_file(), name
