"""The page on receiving names a test for every fault, and every test that it names is there."""

import re

import pytest

from tests.house.source import ROOT
from triage.settings import Listener

PAGE = (ROOT / "docs" / "receiving.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([A-E]\d+) \|.*\|(.*)\|$", PAGE, re.MULTILINE)
EXPECTED = [*(f"A{number}" for number in range(1, 23)), *(f"D{number}" for number in range(1, 8))]
EXPECTED.append("D9")


def test_it_lists_every_fault_once() -> None:
    assert [row for row, _ in ROWS if row[0] in "AD"] == EXPECTED


@pytest.mark.parametrize(("row", "tests"), ROWS, ids=[row for row, _ in ROWS])
def test_every_fault_has_tests_that_exist(row: str, tests: str) -> None:
    found = re.findall(r"`(test_\w+\.py)::(test_\w+)`", tests)
    assert found, row
    for file, name in found:
        source = (ROOT / "tests" / "triage" / "receive" / file).read_text(encoding="utf-8")
        assert re.search(rf"^\s*def {name}\(", source, re.MULTILINE), f"{row}: {file}::{name}"


def test_every_setting_and_program_it_names_exists() -> None:
    for name in re.findall(r"`listener\.(\w+)`", PAGE):
        assert name in Listener.model_fields, name
    for name in re.findall(r"`(\w+_(?:timeout_s|bytes))`", PAGE):
        assert name in Listener.model_fields, name
    for module in re.findall(r"python -m ([\w.]+)", PAGE):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), module
