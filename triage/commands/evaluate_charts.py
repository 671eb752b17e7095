"""Charts as inline SVG, the same text for the same numbers; they read in black and white too."""

import base64
import io
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
HEALTHY: Final = "#4a7ebb"
ABNORMAL: Final = "#b03a2e"
BINS: Final = 40
_LEFT, _TOP, _WIDE, _HIGH = 46, 10, 300, 220


def roc(false: Floats, true: Floats, title: str) -> str:
    """Draw the ROC over the diagonal of chance; rates in [0, 1]."""
    points = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in zip(false, true, strict=True))
    drawn = (
        f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="#999" '
        'stroke-dasharray="4 4"/>'
        f'<polyline points="{points}" fill="none" stroke="{ABNORMAL}" stroke-width="2"/>'
    )
    ticks = [(rate, f"{rate:g}") for rate in (0, 0.25, 0.5, 0.75, 1)]
    frame = _frame(ticks, ticks, "false-positive rate (1 - specificity)", "sensitivity")
    return _svg(title, frame + drawn)


def histogram(healthy: Floats, abnormal: Floats, threshold: float | None, title: str) -> str:
    """Draw both distributions of the raw score, each to its own total, and the threshold.

    The axis ends at the 99th percentile of all scores; what lies beyond is in the last bin.
    """
    everything = np.concatenate([healthy, abnormal])
    low, high = float(everything.min()), float(np.quantile(everything, 0.99))
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    shares = [_shares(scores, edges) for scores in (healthy, abnormal)]
    top = max(float(share.max()) for share in shares)
    drawn = _steps(shares[0] / top, f'fill="{HEALTHY}" fill-opacity="0.45"')
    drawn += _steps(shares[1] / top, f'fill="none" stroke="{ABNORMAL}" stroke-width="2"')
    if threshold is not None:
        x = _x((threshold - edges[0]) / (edges[-1] - edges[0]))
        drawn += (
            f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_TOP + _HIGH}" stroke="#222" '
            f'stroke-width="1.5" stroke-dasharray="6 3"/>'
            f'<text x="{x + 4:.1f}" y="{_TOP + 12}">threshold</text>'
        )
    across = [(at, f"{edges[0] + at * (edges[-1] - edges[0]):.3g}") for at in (0, 0.5, 1)]
    up = [(at, f"{at * top:.0%}") for at in (0, 0.5, 1)]
    return _svg(title, _frame(across, up, "raw score", "share of its label") + drawn)


def sheet(rows: Sequence[Sequence[Bytes]], heads: Sequence[str], names: Sequence[str]) -> str:
    """Draw small pictures (HW grey or HWC colour) in rows, with column heads and row names."""
    side, gap, left, top = 96, 6, 150, 22
    drawn = "".join(
        f'<text x="{left + at * (side + gap) + side / 2}" y="14" text-anchor="middle">{head}</text>'
        for at, head in enumerate(heads)
    )
    for down, (row, name) in enumerate(zip(rows, names, strict=True)):
        y = top + down * (side + gap)
        drawn += f'<text x="{left - 8}" y="{y + side / 2}" text-anchor="end">{name}</text>'
        drawn += "".join(
            f'<image x="{left + at * (side + gap)}" y="{y}" width="{side}" height="{side}" '
            f'style="image-rendering:pixelated" href="{_png(pixels)}"/>'
            for at, pixels in enumerate(row)
        )
    width, height = left + len(heads) * (side + gap), top + len(rows) * (side + gap)
    return _svg("Inputs, reconstructions and error maps", drawn, width, height)


def _png(pixels: Bytes) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _shares(scores: Floats, edges: Floats) -> Floats:
    counts, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)
    return counts / scores.size


def _steps(heights: Floats, style: str) -> str:
    """Draw an outline of bars; heights in [0, 1]."""
    points = [(0.0, 0.0)]
    for place, height in enumerate(heights):
        points += [(place / BINS, float(height)), ((place + 1) / BINS, float(height))]
    points.append((1.0, 0.0))
    return f'<polyline points="{" ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)}" {style}/>'


def _x(share: float) -> float:
    return _LEFT + share * _WIDE


def _y(share: float) -> float:
    return _TOP + (1 - share) * _HIGH


Ticks = Sequence[tuple[float, str]]


def _frame(across: Ticks, up: Ticks, x_name: str, y_name: str) -> str:
    drawn = (
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_WIDE}" height="{_HIGH}" fill="none" stroke="#555"/>'
    )
    for at, text in across:
        drawn += f'<text x="{_x(at):.1f}" y="{_y(0) + 14}" text-anchor="middle">{text}</text>'
    for at, text in up:
        drawn += f'<text x="{_LEFT - 5}" y="{_y(at) + 4:.1f}" text-anchor="end">{text}</text>'
    middle = _TOP + _HIGH / 2
    return drawn + (
        f'<text x="{_x(0.5)}" y="{_y(0) + 30}" text-anchor="middle">{x_name}</text>'
        f'<text x="10" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 10 {middle})">{y_name}</text>'
    )


def _svg(title: str, drawn: str, width: float = 360, height: float = 270) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}"><title>{title}</title>{drawn}</svg>'
    )
