"""The drawing of AUROC against cost holds every row where its numbers are, and can be read."""

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from models.artifact import Figure
from triage.commands.benchmark_cells import Outcome
from triage.commands.benchmark_chart import chart, drawn, figure_beside
from triage.commands.benchmark_chart_labels import FRAME, LETTER, Box, Point
from triage.commands.benchmark_costs import Cost, Costs, Measured
from triage.commands.benchmark_numbers import Numbers
from triage.commands.benchmark_plan import Table
from triage.commands.evaluation import Result

SVG = "{http://www.w3.org/2000/svg}"
CHEAP = Point(label="Cheap", together=False, cost=10, auroc=60, low=55, high=70)
DEAR = Point(label="Dear & <slow>", together=True, cost=100, auroc=80, low=80, high=80)
CROWD = [
    replace(CHEAP, label=f"Detector {place}", cost=40 + place % 3, auroc=62 + place / 2)
    for place in range(14)
]


def _parts(text: str, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(text).iter(SVG + tag))


def _texts(text: str) -> list[str]:
    return ["".join(one.itertext()) for one in _parts(text, "text")]


def _marks(text: str) -> list[tuple[float, float, str | None]]:
    """Give the points' places and fills; the last two marks are the legend's."""
    found = _parts(text, "circle")[:-2]
    return [(float(one.attrib["cx"]), float(one.attrib["cy"]), one.get("fill")) for one in found]


def _places(text: str, labels: set[str]) -> list[Box]:
    """Give what the labels take up, in a narrow face."""
    found = []
    for one in _parts(text, "text"):
        said = "".join(one.itertext())
        if said in labels:
            wide, x, y = LETTER * len(said), float(one.attrib["x"]), float(one.attrib["y"])
            left = x - wide * {"start": 0, "middle": 0.5, "end": 1}[one.attrib["text-anchor"]]
            found.append(Box(left, y - 9, left + wide, y + 2))
    return found


def test_a_point_lies_where_its_numbers_are() -> None:
    middle = replace(CHEAP, cost=10**1.5, auroc=70)
    (x, y, _), (middle_x, middle_y, _), (right_x, top_y, _) = _marks(
        drawn([CHEAP, middle, DEAR], None)
    )
    assert middle_x == pytest.approx((x + right_x) / 2, abs=0.1)  # logarithmic
    assert middle_y == pytest.approx((y + top_y) / 2, abs=0.1)
    assert x < right_x
    assert y > top_y


def test_whiskers_reach_from_the_lowest_to_the_highest_seed() -> None:
    text = drawn([CHEAP, DEAR], None)
    (_, cheap_y, _), (_, dear_y, _) = _marks(text)
    unit = (cheap_y - dear_y) / 20
    high, low = map(float, re.findall(r'd="M[\d.]+ ([\d.]+)V([\d.]+)', text)[0])
    assert high == pytest.approx(cheap_y - 10 * unit, abs=0.2)
    assert low == pytest.approx(cheap_y + 5 * unit, abs=0.2)


def test_the_trivial_level_is_a_dashed_line_at_its_height() -> None:
    text = drawn([CHEAP, DEAR], 70.0)
    (_, cheap_y, _), (_, dear_y, _) = _marks(text)
    dashed = [one for one in _parts(text, "line") if one.get("stroke-dasharray") == "8 4"]
    assert [float(one.attrib["y1"]) for one in dashed] == [
        pytest.approx((cheap_y + dear_y) / 2, abs=0.1)
    ]
    assert "best trivial scores, 70.0 %" in _texts(text)
    assert "8 4" not in drawn([CHEAP, DEAR], None)


def test_it_needs_no_colour_and_says_everything_to_a_screen_reader() -> None:
    text = drawn([CHEAP, DEAR], 70.0)
    assert [fill for *_, fill in _marks(text)] == ["#111", "#fff"]
    for ink in re.findall(r"#([0-9a-f]{3,6})\b", text):
        assert len(set(ink)) == 1, ink  # grey
    root = ElementTree.fromstring(text)
    assert root.get("role") == "img"
    assert str(root.get("aria-labelledby")).split() == ["title", "desc"]
    (title,), (told,) = _parts(text, "title"), _parts(text, "desc")
    assert (title.get("id"), told.get("id")) == ("title", "desc")
    assert "Dear & <slow>: 80.0 % (80.0 to 80.0) at 100.0 million" in str(told.text)
    assert "trivial scores: 70.0 %" in str(told.text)
    (ground,) = [one for one in _parts(text, "rect") if one.get("width") == "100%"]
    assert ground.get("fill") == "#fff"


def test_labels_of_a_crowd_keep_apart_and_inside() -> None:
    text = drawn(CROWD, 75.0)
    places = _places(text, {one.label for one in CROWD})
    assert len(places) == len(CROWD)
    for one, other in combinations(places, 2):
        assert not one.meets(other)
    left, top, wide, tall = FRAME
    for one in places:
        assert left <= one.left
        assert one.right <= left + wide
        assert top <= one.top
        assert one.bottom <= top + tall
        for x, y, _ in _marks(text):
            assert not one.meets(Box(x - 4, y - 4, x + 4, y + 4))


def test_a_long_label_at_the_edge_goes_to_the_other_side() -> None:
    long = replace(DEAR, label="a detector of a very long name")
    left, _, wide, _ = FRAME
    (place,) = _places(drawn([CHEAP, long], None), {long.label})
    assert place.right <= left + wide


def test_a_label_far_from_its_point_is_led_to_it() -> None:
    thin = 'stroke-width="0.8"'
    assert thin in drawn(CROWD, 75.0)
    assert thin not in drawn([CHEAP, DEAR], None)


def _outcome(row: str, seed: int, **aurocs: float) -> Outcome:
    results = {
        name: Result.model_construct(
            auroc=Figure(value=auroc, low=0, high=1),
            baselines={"a": 0.7, "b": 0.9} if name == "left" else {"a": 0.6},
        )
        for name, auroc in aurocs.items()
    }
    return Outcome.model_construct(row=row, seed=seed, results=results)


def _table() -> Table:
    source = {"folder": "f", "subset": "s", "stratum": "CT", "training": {}}
    rows: list[dict[str, Any]] = [
        {"name": name, "title": name.title(), "trained": "each", "training": {}}
        for name in ("whole", "half", "uncosted", "ablation")
    ]
    return Table.model_validate(
        {
            "name": "t", "title": "T", "text": "", "data": "", "seeds": [0, 1], "training": {},
            "sets": {name: {"title": name, **source} for name in ("left", "right")},
            "together": {}, "sizes": {},
            "sections": [{"title": "A", "rows": rows[:3]}, {"title": "B", "rows": rows[3:]}],
        }
    )  # fmt: skip


def _costs(*rows: str) -> Costs:
    cost = Cost(parameters=1, multiply_adds=20_000_000, one_mb=1, batch_mb=1)
    one = Measured(artifact_sha256="", size_px=64, cost=cost, rates=())
    return Costs(rows=dict.fromkeys(rows, one))


def test_the_rows_of_the_first_table_with_every_set_and_a_cost_are_drawn() -> None:
    outcomes = [
        _outcome("whole", 0, left=0.6, right=0.8),
        _outcome("whole", 1, left=0.5, right=0.6),
        _outcome("half", 0, left=0.9),
        _outcome("uncosted", 0, left=0.6, right=0.8),
        _outcome("ablation", 0, left=0.6, right=0.8),
    ]
    text = chart(_table(), Numbers(outcomes), _costs("whole", "half", "ablation"))
    assert text
    said = str(_parts(text, "desc")[0].text)
    # Seeds' means over the sets: 70 and 55. Best trivial scores: 90 and 60.
    assert "Whole: 62.5 % (55.0 to 70.0) at 20.0 million multiply-adds." in said
    assert "The best trivial scores: 75.0 %." in said
    assert not {"Half", "Uncosted", "Ablation"} & set(_texts(text))


def test_nothing_is_drawn_of_nothing() -> None:
    outcomes = [_outcome("whole", 0, left=0.6, right=0.8)]
    assert chart(_table(), Numbers(outcomes), Costs()) is None
    assert chart(_table(), Numbers([]), _costs("whole")) is None


def test_it_lies_beside_its_page() -> None:
    assert figure_beside(Path("docs/benchmarks.md")) == Path("docs/benchmarks-cost.svg")
