"""The page of completeness says what the code does."""

import re

import yaml

from tests.house.source import ROOT
from triage.completeness import Commitment, Evidence
from triage.errors import REASONS
from triage.settings import Completeness

PAGE = (ROOT / "docs" / "completeness.md").read_text(encoding="utf-8")


def test_its_examples_are_configurations_and_name_every_setting() -> None:
    blocks = [yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    rules = Completeness.model_validate(blocks[0]["completeness"])
    assert Commitment.model_validate(blocks[1]["commitment"]).requesters
    assert set(blocks[0]["completeness"]) >= set(Evidence.model_fields)
    assert set(blocks[1]["commitment"]) == set(Commitment.model_fields)
    for name, default in Evidence().model_dump().items():
        if isinstance(default, int | float | str):
            assert getattr(rules, name) == default, name


def test_the_reasons_it_names_exist() -> None:
    named = {"study-incomplete", "images-deleted", "wrong-worklist-entry", "retracted"}
    assert named <= set(REASONS)
    assert all(f"`{one}`" in PAGE for one in named)
