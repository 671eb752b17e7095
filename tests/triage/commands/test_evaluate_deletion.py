"""``triage evaluate --deletion``: on pictures with an opacity, and a detector that sees it."""

from pathlib import Path

import pytest

from tests.triage.commands.cli import triage
from tests.triage.commands.labelled import write_artifact, write_folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("deletion")
    write_folder(home / "pictures")
    write_artifact(home / "detector")
    return home


def test_the_score_falls_when_what_is_strange_is_taken_away(home: Path) -> None:
    found = triage(
        "evaluate", home / "detector", "--data", home / "pictures", "--subset", "a", "--deletion",
        "--out", home / "out", "--state", home / "state", "--json",
    )  # fmt: skip
    assert found.code == 0, found.err
    (one,) = found.json["deletions"]
    assert (one["subset"], one["pictures"]) == ("a", 10)
    for name in ("fell", "fell_elsewhere", "fell_more"):
        assert 0 <= one[name]["low"] <= one[name]["value"] <= one[name]["high"] <= 1
    assert one["fell_more"]["value"] > 0.5
    assert one["median_fall"] > one["median_fall_elsewhere"]
    page = (home / "out" / "report.html").read_text()
    assert "deletion: falls further than elsewhere" in page


def test_without_the_option_nothing_is_deleted(home: Path) -> None:
    found = triage(
        "evaluate", home / "detector", "--data", home / "pictures", "--subset", "a",
        "--state", home / "state", "--json",
    )  # fmt: skip
    assert found.json["deletions"] == []
