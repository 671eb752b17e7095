"""A set's test and its further pictures stand side by side, each with its trivial scores."""

from collections.abc import Mapping
from typing import Any

from models.artifact import Figure
from triage.commands.benchmark_cells import Outcome
from triage.commands.benchmark_numbers import Numbers
from triage.commands.benchmark_own import Own, Owns
from triage.commands.benchmark_page_own import own_part
from triage.commands.benchmark_plan import Table
from triage.commands.evaluation import Result

ALSO = {"title": "own patients", "beside": "official", "splits": ["val"], "text": "Two questions."}


def _figure(value: float) -> Figure:
    return Figure(value=value, low=value - 0.1, high=value + 0.1)


def _outcome(row: str, seed: int, **aurocs: float) -> Outcome:
    results = {
        name: Result.model_construct(
            healthy=30, abnormal=40, patients=60, auroc=_figure(auroc),
            baselines={"mean grey": 0.77},
        )
        for name, auroc in aurocs.items()
    }  # fmt: skip
    return Outcome.model_construct(row=row, seed=seed, name=f"{row}-{seed}", results=results)


def _own(auroc: float) -> Owns:
    found = Own(
        artifact_sha256="", splits=("val",), healthy=10, abnormal=11, patients=20,
        auroc=_figure(auroc), baselines={"mean grey": 0.66, "5 nearest thumbnails": 0.91},
    )  # fmt: skip
    return Owns(sets={"a": found})


def _table(**also: Mapping[str, Any]) -> Table:
    sets = {
        name: {
            "title": name.upper(), "folder": name, "subset": name, "stratum": "CT",
            "training": {}, "also": also.get(name),
        }
        for name in ("a", "b")
    }  # fmt: skip
    rows: list[dict[str, Any]] = [
        {"name": name, "title": name.title(), "trained": "each", "training": {}}
        for name in ("one", "two", "late")
    ]
    return Table.model_validate(
        {
            "name": "t", "title": "T", "text": "", "data": "", "seeds": [0, 1], "training": {},
            "sets": sets, "together": {}, "sizes": {},
            "sections": [{"title": "First", "rows": rows[:1]}, {"title": "S", "rows": rows[1:]}],
        }
    )  # fmt: skip


OUTCOMES = (_outcome("one", 0, a=0.6), _outcome("one", 1, a=0.64), _outcome("two", 0, a=0.5, b=0.5))


def test_every_row_has_both_beside_each_other() -> None:
    owns = {"one-0": _own(0.8), "one-1": _own(0.82), "two-0": Owns()}
    said = list(own_part(_table(a=ALSO), Numbers(OUTCOMES), owns))
    assert said[:3] == ["## A: official, and own patients", "", "Two questions."]
    assert "- official: 30 healthy and 40 abnormal pictures of 60 patients" in said
    assert "- own patients: 10 healthy and 11 abnormal pictures of 20 patients" in said
    assert (
        "| One | 62.0 (60.0 to 64.0) | 50.0 to 74.0 | 81.0 (80.0 to 82.0) | 70.0 to 92.0 |" in said
    )
    assert "| Two | 50.0 (50.0 to 50.0), 1 of 2 seeds | 40.0 to 60.0 | - | - |" in said
    assert not [line for line in said if line.startswith("| Late")]  # not measured there


def test_the_trivial_scores_are_those_of_the_same_pictures() -> None:
    said = list(own_part(_table(a=ALSO), Numbers(OUTCOMES), {"one-0": _own(0.8)}))
    assert "| *trivial: mean grey* | 77.0 |  | 66.0 |  |" in said
    assert "| *trivial: 5 nearest thumbnails* | - |  | 91.0 |  |" in said


def test_a_set_that_asks_nothing_more_has_no_part() -> None:
    assert list(own_part(_table(), Numbers(OUTCOMES), {})) == []
