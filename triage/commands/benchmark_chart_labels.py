"""Where the parts of the drawing of AUROC against cost lie, and how its labels keep apart."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

FRAME: Final = (64, 44, 700, 420)
"""Left margin, top margin, width and height, in units of the drawing."""
MARK: Final = 5.0
CAPITAL: Final = 10.0
LETTER: Final = 7.0
"""Width at this size of type, in a wide face: which one draws it is not known here."""
LINE: Final = 14.0
RINGS: Final = (0.0, 8.0, 18.0, 30.0, 44.0, 60.0)
"""How far from its point a label may stand, besides the mark; near ones are tried first."""
TURNS: Final = 16


@dataclass(frozen=True, slots=True)
class Point:
    """One row: its cost, and its mean AUROC over the sets, in per cent."""

    label: str
    together: bool
    """One network for all sets."""
    cost: float
    """Multiply-adds of one image, 10^6."""
    auroc: float
    low: float
    high: float
    """Of the seeds' own means over the sets."""


@dataclass(frozen=True, slots=True)
class Level:
    """An AUROC in per cent that a line is drawn at."""

    auroc: float
    dash: str
    """Told apart without a colour."""
    label: str


@dataclass(frozen=True, slots=True)
class Box:
    """What something takes up of the drawing."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Say whether both take up the same place."""
        beside = self.right <= other.left or other.right <= self.left
        return not (beside or self.bottom <= other.top or other.bottom <= self.top)


@dataclass(frozen=True, slots=True)
class Scale:
    """From costs and AUROC to places in the drawing."""

    costs: tuple[float, float]
    """10^6, logarithmic."""
    aurocs: tuple[float, float]

    def x(self, cost: float) -> float:
        """Give a cost's place from the left."""
        left, _, wide, _ = FRAME
        low, high = map(math.log, self.costs)
        return left + (math.log(cost) - low) / (high - low) * wide

    def y(self, value: float) -> float:
        """Give an AUROC's place from the top."""
        _, top, _, tall = FRAME
        low, high = self.aurocs
        return top + (high - value) / (high - low) * tall


def labels(scale: Scale, points: Sequence[Point], levels: Sequence[Level]) -> Iterator[str]:
    """Give each label where it meets no mark, whisker, line or other label, as near as may be."""
    taken = [box for point in points for box in _taken(scale, point)]
    taken += [box for level in levels for box in _named(scale, level)]
    for point in points:
        x, y = scale.x(point.cost), scale.y(point.auroc)
        free = (box for box in _places(point.label, x, y) if _is_free(box, taken))
        # In a crowd there is none: to the right then, over the others.
        box = next(free, next(_places(point.label, x, y)))
        taken.append(box)
        yield _leader(box, x, y) + _text(box, x, point.label)


def _text(box: Box, x: float, label: str) -> str:
    """Give a label, from the side its point is on: its true width is not known here."""
    anchor, at = "middle", (box.left + box.right) / 2
    if box.left > x:
        anchor, at = "start", box.left
    elif box.right < x:
        anchor, at = "end", box.right
    return (
        f'<text x="{at:.1f}" y="{box.bottom - 3.5:.1f}" text-anchor="{anchor}">'
        f"{escape(label)}</text>"
    )


def _taken(scale: Scale, point: Point) -> tuple[Box, Box]:
    x, y = scale.x(point.cost), scale.y(point.auroc)
    return (
        Box(x - MARK - 1, y - MARK - 1, x + MARK + 1, y + MARK + 1),
        Box(x - 4, scale.y(point.high) - 1, x + 4, scale.y(point.low) + 1),
    )


def _named(scale: Scale, level: Level) -> tuple[Box, Box]:
    """Give what a line and its name take up."""
    left, _, wide, _ = FRAME
    right, y = left + wide, scale.y(level.auroc)
    return (
        Box(left, y - 2, right, y + 2),
        Box(right - 6 - _width(level.label), y - LINE - 4, right, y + 2),
    )


def _width(label: str) -> float:
    return sum(CAPITAL if letter.isupper() else LETTER for letter in label)


def _places(label: str, x: float, y: float) -> Iterator[Box]:
    """Give where a label may stand: right of its point first, then around it, then further off."""
    wide = _width(label)
    for ring in RINGS:
        reach = MARK + 3 + ring
        for turn in sorted(range(TURNS), key=lambda one: min(one, TURNS - one)):
            across, down = (call(2 * math.pi * turn / TURNS) for call in (math.cos, math.sin))
            middle_x = x + across * (reach + wide / 2)
            middle_y = y + down * (reach + LINE / 2)
            yield Box(
                middle_x - wide / 2, middle_y - LINE / 2, middle_x + wide / 2, middle_y + LINE / 2
            )


def _is_free(box: Box, taken: Sequence[Box]) -> bool:
    left, top, wide, tall = FRAME
    inside = left + 2 <= box.left and box.right <= left + wide - 2
    inside = inside and top + 2 <= box.top and box.bottom <= top + tall - 2
    return inside and not any(box.meets(other) for other in taken)


def _leader(box: Box, x: float, y: float) -> str:
    """Give a thin line from a label to its point, where the label does not touch it."""
    near_x, near_y = min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)
    away = math.hypot(near_x - x, near_y - y)
    if away <= MARK + 6:
        return ""
    start_x, start_y = (a + (b - a) * MARK / away for a, b in ((x, near_x), (y, near_y)))
    return (
        f'<line x1="{start_x:.1f}" y1="{start_y:.1f}" x2="{near_x:.1f}" y2="{near_y:.1f}" '
        'stroke="#777" stroke-width="0.8"/>'
    )
