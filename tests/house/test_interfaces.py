"""The page of interfaces says what the code does."""

import re

import pytest
import yaml

from tests.house.source import ROOT
from triage.deliver import mllp
from triage.deliver.http_post import raise_for
from triage.destinations import ANY
from triage.errors import Broken, TryAgain
from triage.outputs import OUTPUTS
from triage.settings import Reporting

PAGE = (ROOT / "docs" / "interfaces.md").read_text(encoding="utf-8")
ROWS = {
    cells[0].strip("`"): cells
    for line in PAGE.splitlines()
    if line.startswith("| `") and len(cells := [c.strip() for c in line.strip("|").split("|")]) == 6
}


def test_its_example_is_a_configuration() -> None:
    example = yaml.safe_load(PAGE.split("```yaml\n")[1].split("```")[0])
    kinds = [ANY.validate_python(one).kind for one in example["destinations"]]
    assert kinds == ["dimse", *ROWS]


@pytest.mark.parametrize("kind", ROWS)
def test_each_kind_carries_what_the_page_says(kind: str) -> None:
    written = set(re.findall(r"`(\w+)`", ROWS[kind][1]))
    example = yaml.safe_load(PAGE.split("```yaml\n")[1].split("```")[0])
    [given] = [one for one in example["destinations"] if one.get("kind") == kind]
    assert {one for one in OUTPUTS if _takes(given, one)} == written


def _takes(given: dict[str, object], output: str) -> bool:
    try:
        ANY.validate_python({**given, "outputs": [output]})
    except ValueError:
        return False
    return True


def test_http_statuses_have_the_fates_that_it_lists() -> None:
    later = {int(one) for one in re.findall(r"\b[45]\d\d\b", ROWS["fhir"][4])}
    for status in range(300, 600):
        with pytest.raises(TryAgain if status in later else Broken):
            raise_for(status, "x")


def test_hl7_errors_have_the_fates_that_it_lists() -> None:
    assert {205} == {int(one) for one in re.findall(r"\b2\d\d\b", ROWS["mllp"][3])}
    later = {int(one) for one in re.findall(r"\b2\d\d\b", ROWS["mllp"][4])}
    assert later == {code for code in mllp._MEANING if code > mllp._LAST_OF_FORM} - {205}


def test_the_settings_that_it_names_exist() -> None:
    for name in re.findall(r"`reporting\.(\w+)`", PAGE):
        assert name in Reporting.model_fields
