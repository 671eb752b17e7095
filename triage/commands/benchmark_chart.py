"""AUROC against cost as SVG: a labelled point for each row of a benchmark's main section."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Final

from triage.commands.benchmark_chart_labels import FRAME, MARK, Level, Point, Scale, labels
from triage.commands.benchmark_numbers import Numbers, auroc
from triage.commands.benchmark_plan import TOGETHER

if TYPE_CHECKING:
    from triage.commands.benchmark_costs import Costs
    from triage.commands.benchmark_plan import Row, Table

STEPS: Final = (1, 1.5, 2, 3, 5, 7)
"""Of a decade, where a tick stands."""
CHANCE: Final = 50.0


def figure_beside(page: Path) -> Path:
    """Give where a page's drawing lies: page.md has page-cost.svg."""
    return page.with_name(f"{page.stem}-cost.svg")


def chart(table: "Table", numbers: Numbers, costs: "Costs") -> str | None:
    """Draw the main section's rows; None where none has both a mean over the sets and a cost."""
    found = tuple(_points(table, numbers, costs))
    return drawn(found, _trivial(table, numbers)) if found else None


def drawn(points: Sequence[Point], trivial: float | None) -> str:
    """Draw points with their whiskers and labels, and the trivial scores' mean as a dashed line."""
    scale = _scale(points, trivial)
    left, top, wide, tall = FRAME
    width, height = left + wide + 20, top + tall + 84
    levels = _levels(trivial)
    inside = _axes(scale) + "".join(_line_at(scale, level) for level in levels)
    inside += "".join(_whisker(scale, point) for point in points)
    inside += "".join(_mark(scale, point) for point in points)
    inside += "".join(labels(scale, points, levels)) + _legend(top + tall + 66)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12" fill="#111"><title id="title">Mean AUROC '
        f'against cost</title><desc id="desc">{escape(_told(points, trivial))}</desc>'
        f'<rect width="100%" height="100%" fill="#fff"/>{inside}</svg>\n'
    )


def _points(table: "Table", numbers: Numbers, costs: "Costs") -> Iterator[Point]:
    for row in table.sections[0].rows:
        measured, seeds = costs.rows.get(row.name), _seeds(table, numbers, row)
        if measured and seeds:
            yield Point(
                label=row.title,
                together=row.trained == TOGETHER,
                cost=measured.cost.multiply_adds / 1e6,
                auroc=mean(seeds),
                low=min(seeds),
                high=max(seeds),
            )


def _seeds(table: "Table", numbers: Numbers, row: "Row") -> list[float]:
    """Give each seed's mean over the sets in per cent, of the seeds that have every set."""
    found = [numbers.results(row.name, on) for on in table.sets]
    seeds = set(found[0]).intersection(*found)
    return [100 * mean(auroc(results[seed]) for results in found) for seed in sorted(seeds)]


def _trivial(table: "Table", numbers: Numbers) -> float | None:
    best = [max(numbers.trivial(on).values(), default=None) for on in table.sets]
    known = [one for one in best if one is not None]
    return 100 * mean(known) if known and len(known) == len(best) else None


def _scale(points: Sequence[Point], trivial: float | None) -> Scale:
    costs = [point.cost for point in points]
    shown = [CHANCE, *(one.low for one in points), *(one.high for one in points)]
    shown += [] if trivial is None else [trivial]
    return Scale(
        (min(costs) / 1.3, max(costs) * 1.7),
        (
            max(0, 5 * math.floor(min(shown) / 5 - 0.2)),
            min(100, 5 * math.ceil(max(shown) / 5 + 0.2)),
        ),
    )


def _axes(scale: Scale) -> str:
    left, top, wide, tall = FRAME
    found = f'<rect x="{left}" y="{top}" width="{wide}" height="{tall}" fill="none" stroke="#555"/>'
    low, high = scale.aurocs
    for value in range(int(low), int(high) + 1, 5):
        y = scale.y(value)
        found += (
            f'<line x1="{left}" y1="{y:.1f}" x2="{left - 5}" y2="{y:.1f}" stroke="#555"/>'
            f'<text x="{left - 9}" y="{y + 4:.1f}" text-anchor="end">{value}</text>'
        )
    for cost in _ticks(*scale.costs):
        x, under = scale.x(cost), top + tall
        found += (
            f'<line x1="{x:.1f}" y1="{under}" x2="{x:.1f}" y2="{under + 5}" stroke="#555"/>'
            f'<text x="{x:.1f}" y="{under + 19}" text-anchor="middle">{cost:g}</text>'
        )
    middle = top + tall / 2
    return found + (
        f'<text x="{left + wide / 2}" y="{top + tall + 38}" text-anchor="middle">'
        "multiply-adds of one image, millions (logarithmic)</text>"
        f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">'
        "mean AUROC over the sets, %</text>"
    )


def _ticks(low: float, high: float) -> Iterator[float]:
    for decade in range(math.floor(math.log10(low)), math.ceil(math.log10(high))):
        yield from (step * 10.0**decade for step in STEPS if low <= step * 10.0**decade <= high)


def _levels(trivial: float | None) -> tuple[Level, ...]:
    chance = Level(CHANCE, "1 4", "chance")
    if trivial is None:
        return (chance,)
    return chance, Level(trivial, "8 4", f"best trivial scores, {trivial:.1f} %")


def _line_at(scale: Scale, level: Level) -> str:
    left, _, wide, _ = FRAME
    y = scale.y(level.auroc)
    return (
        f'<line x1="{left}" y1="{y:.1f}" x2="{left + wide}" y2="{y:.1f}" stroke="#111" '
        f'stroke-dasharray="{level.dash}"/><text x="{left + wide - 6}" y="{y - 5:.1f}" '
        f'text-anchor="end" font-style="italic">{escape(level.label)}</text>'
    )


def _whisker(scale: Scale, point: Point) -> str:
    x, high, low = scale.x(point.cost), scale.y(point.high), scale.y(point.low)
    ends = "".join(f"M{x - 4:.1f} {y:.1f}H{x + 4:.1f}" for y in (high, low))
    return f'<path d="M{x:.1f} {high:.1f}V{low:.1f}{ends}" fill="none" stroke="#777"/>'


def _mark(scale: Scale, point: Point) -> str:
    fill = "#fff" if point.together else "#111"
    return (
        f'<circle cx="{scale.x(point.cost):.1f}" cy="{scale.y(point.auroc):.1f}" r="{MARK - 0.5}" '
        f'fill="{fill}" stroke="#111" stroke-width="1.5"/>'
    )


def _legend(y: float) -> str:
    left = FRAME[0] + 6
    return (
        f'<circle cx="{left}" cy="{y - 4}" r="{MARK - 0.5}" fill="#111" stroke="#111"/>'
        f'<text x="{left + 12}" y="{y}">one network for each set</text>'
        f'<circle cx="{left + 190}" cy="{y - 4}" r="{MARK - 0.5}" fill="#fff" stroke="#111" '
        f'stroke-width="1.5"/><text x="{left + 202}" y="{y}">one network for all sets</text>'
        f'<path d="M{left + 380} {y - 11}V{y + 3}M{left + 376} {y - 11}H{left + 384}'
        f'M{left + 376} {y + 3}H{left + 384}" fill="none" stroke="#777"/>'
        f'<text x="{left + 392}" y="{y}">lowest to highest seed</text>'
    )


def _told(points: Sequence[Point], trivial: float | None) -> str:
    lines = [
        f"{one.label}: {one.auroc:.1f} % ({one.low:.1f} to {one.high:.1f}) "
        f"at {one.cost:.1f} million multiply-adds."
        for one in points
    ]
    level = "" if trivial is None else f" The best trivial scores: {trivial:.1f} %."
    return f"Mean AUROC over the sets, lowest to highest seed. {' '.join(lines)}{level}"
