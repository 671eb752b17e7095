"""The curve of a calibration as SVG: what each threshold promises, and between which ends."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from triage.flags import Promise, promise

WIDTHS: Final = (56, 24, 460, 260)
"""Left margin, top margin, width and height of the frame, in units of the drawing."""
INKS: Final = ("#1f5f99", "#a0522d", "#3b7a3b", "#6b4c9a", "#7a6a1f", "#555555")
DASHES: Final = ("", "7 3", "2 3", "9 3 2 3", "5 5", "1 4")
"""Told apart in black and white too."""
MOST: Final = 0.2
STEPS: Final = 200
TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


def curve(
    strata: Mapping[str, int],
    marked: Sequence[float],
    *,
    arrivals: float | None = None,
    title: str = "Promised false flags",
) -> str:
    """Draw the false-flag rate over alpha for each stratum, with its 95 % band.

    ``strata`` gives the healthy studies of each, ``marked`` are thresholds in use. With
    ``arrivals``, studies a day, the right axis says flags a day.
    """
    most = min(1.0, max([MOST, *(2 * alpha for alpha in marked)]))
    lines = "".join(
        _stratum(name, n, most, place) for place, (name, n) in enumerate(sorted(strata.items()))
    )
    left, top, wide, high = WIDTHS
    drawn = _frame(most, arrivals) + lines
    for alpha in marked:
        x = _x(alpha, most)
        drawn += (
            f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + high}" stroke="#222" '
            f'stroke-dasharray="6 3"/><text x="{x + 3:.1f}" y="{top - 6}">p &lt;= {alpha:g}</text>'
        )
    height = top + high + 44 + 16 * len(strata)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {left + wide + 70} '
        f'{height}" width="{left + wide + 70}" height="{height}" font-family="sans-serif" '
        f'font-size="11" fill="#222"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{drawn}</svg>'
    )


def _stratum(name: str, n: int, most: float, place: int) -> str:
    ink, dash = INKS[place % len(INKS)], DASHES[place % len(DASHES)]
    found = [promise(n, most * step / STEPS) for step in range(1, STEPS + 1)]
    upper = [_point(one, one.high, most) for one in found]
    lower = [_point(one, one.low, most) for one in reversed(found)]
    left, top, _, high = WIDTHS
    y = top + high + 44 + 16 * place
    return (
        f'<polygon points="{" ".join(upper + lower)}" fill="{ink}" fill-opacity="0.13"/>'
        f'<polyline points="{" ".join(_point(one, one.rate, most) for one in found)}" fill="none" '
        f'stroke="{ink}" stroke-width="1.8" stroke-dasharray="{dash}"/>'
        f'<line x1="{left}" y1="{y - 4}" x2="{left + 30}" y2="{y - 4}" stroke="{ink}" '
        f'stroke-width="1.8" stroke-dasharray="{dash}"/>'
        f'<text x="{left + 38}" y="{y}">{escape(name)}, {n} healthy patients</text>'
    )


def _point(one: Promise, rate: float, most: float) -> str:
    return f"{_x(one.alpha, most):.1f},{_y(min(rate, most), most):.1f}"


def _x(alpha: float, most: float) -> float:
    left, _, wide, _ = WIDTHS
    return left + alpha / most * wide


def _y(rate: float, most: float) -> float:
    _, top, _, high = WIDTHS
    return top + (1 - rate / most) * high


def _frame(most: float, arrivals: float | None) -> str:
    left, top, wide, high = WIDTHS
    drawn = f'<rect x="{left}" y="{top}" width="{wide}" height="{high}" fill="none" stroke="#555"/>'
    for share in TICKS:
        at = share * most
        x, y = _x(at, most), _y(at, most)
        drawn += f'<text x="{x:.1f}" y="{top + high + 14}" text-anchor="middle">{at:.2g}</text>'
        drawn += f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{at:.1%}</text>'
        if arrivals is not None:
            drawn += f'<text x="{left + wide + 5}" y="{y + 4:.1f}">{at * arrivals:.3g} a day</text>'
    middle = top + high / 2
    return drawn + (
        f'<text x="{left + wide / 2}" y="{top + high + 28}" text-anchor="middle">'
        "threshold: flagged is p &lt;= this</text>"
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">'
        "healthy studies flagged, with the 95 % interval</text>"
    )
