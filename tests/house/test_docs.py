"""The page of states says what the code does."""

import re

from db.states import ARROWS, StudyState
from tests.house.source import ROOT
from triage.finding import Outcome

PAGE = (ROOT / "docs" / "states.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Give the cells of the table under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_it_lists_every_state_once() -> None:
    assert [row[0] for row in rows("States")] == list(StudyState)


def test_it_lists_every_arrow_once_and_no_other() -> None:
    found = [(row[0], row[1]) for row in rows("Arrows")]
    assert sorted(found) == sorted(ARROWS)


def test_it_lists_every_outcome_once() -> None:
    assert [row[0] for row in rows("Outcomes")] == list(Outcome)


def test_every_cell_is_filled() -> None:
    cells = [
        cell
        for heading in ("States", "Arrows", "Outcomes")
        for row in rows(heading)
        for cell in row
    ]
    assert all(cells)


def test_every_file_and_setting_it_names_exists() -> None:
    from triage.settings import Work

    for name in re.findall(r"`([a-z_/]+\.(?:py|md))`", PAGE):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"`work\.(\w+)`", PAGE):
        assert name in Work.model_fields, name
