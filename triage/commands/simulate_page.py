"""The simulation's page: what was sent, decided and opened over time, and how long it took."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from triage.commands.simulate_waiting import section
from triage.worklist.context import DISCLAIMER

WIDE, HIGH, LEFT, TOP = 640, 220, 56, 14
COLOURS: Final = {"sent": "#555", "decided": "#4a7ebb", "opened": "#b03a2e"}
DASHES: Final = {"sent": "2 3", "decided": "", "opened": "7 4"}
"""So that it reads in black and white too."""

Points = Sequence[tuple[float, float]]


def page(summary: Mapping[str, Any], moments: Mapping[str, Sequence[float]]) -> str:
    """Give the whole page.

    ``moments`` holds for "sent", "decided" and "opened" the seconds since the start at which each
    study came to that.
    """
    counted = {name: _counted(sorted(values)) for name, values in moments.items()}
    waits = {
        name: _shares(sorted(one["each"]))
        for name, one in (("decided", summary["decided_s"]), ("opened", summary["opened_s"]))
    }
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        "<title>A simulated hospital</title><style>",
        "body{font:15px/1.5 sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}",
        "table{border-collapse:collapse}td,th{padding:.1rem .8rem .1rem 0;text-align:left}",
        "svg text{font:12px sans-serif}</style></head><body>",
        "<h1>A simulated hospital</h1>",
        f"<p>{escape(_verdict(summary))}</p>",
        _table(summary),
        "<h2>Studies</h2>",
        _chart(counted, "seconds since the start", "studies"),
        "<h2>From the last image to the decision, and to a reader</h2>",
        _chart(waits, "seconds", "share of the studies"),
        *_waiting(summary),
        f"<p>{escape(DISCLAIMER)}</p>",
        "</body></html>",
    ]
    return "\n".join([*parts, ""])


def _verdict(summary: Mapping[str, Any]) -> str:
    problems = summary["problems"]
    return "Everything held." if not problems else f"Did not hold: {'; '.join(problems)}."


def _waiting(summary: Mapping[str, Any]) -> list[str]:
    """Give what the order of reading changes, where a log of arrivals was given."""
    found = summary.get("waiting")
    return ["<h2>What the order of reading changes</h2>", section(found)] if found else []


def _table(summary: Mapping[str, Any]) -> str:
    rows = []
    for name in ("studies", "images", "reports", "mpps", "evidence", "outcomes"):
        text = ", ".join(f"{key} {value}" for key, value in summary[name].items())
        rows.append((name, text or "none"))
    for name, one in (("decided", "decided_s"), ("opened", "opened_s")):
        text = ", ".join(f"{key} {summary[one][key]}" for key in ("p50", "p95", "p99", "n"))
        rows.append((f"s from last image to {name}", text))
    cells = (f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in rows)
    return f"<table>{''.join(cells)}</table>"


def _counted(values: Sequence[float]) -> Points:
    return [(value, float(place)) for place, value in enumerate(values, start=1)]


def _shares(values: Sequence[float]) -> Points:
    return [(value, place / len(values)) for place, value in enumerate(values, start=1)]


def _chart(lines: Mapping[str, Points], x_name: str, y_name: str) -> str:
    """Draw step lines from nought, with a legend."""
    far = max((x for points in lines.values() for x, _ in points), default=0.0) or 1.0
    high = max((y for points in lines.values() for _, y in points), default=0.0) or 1.0
    drawn = [
        f'<rect x="{LEFT}" y="{TOP}" width="{WIDE}" height="{HIGH}" fill="none" stroke="#555"/>'
    ]
    for place, (name, points) in enumerate(lines.items()):
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in _steps(points, far, high))
        style = f'stroke="{COLOURS[name]}" stroke-dasharray="{DASHES[name]}" stroke-width="2"'
        at = TOP + 18 + 16 * place
        drawn.append(f'<polyline points="{text}" fill="none" {style}/>')
        drawn.append(f'<line x1="{LEFT + 10}" x2="{LEFT + 40}" y1="{at}" y2="{at}" {style}/>')
        drawn.append(f'<text x="{LEFT + 46}" y="{at + 4}">{escape(name)}</text>')
    for share in (0.0, 0.5, 1.0):
        x, y = LEFT + share * WIDE, TOP + (1 - share) * HIGH
        drawn.append(
            f'<text x="{x}" y="{TOP + HIGH + 16}" text-anchor="middle">{far * share:.3g}</text>'
            f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{high * share:.3g}</text>'
        )
    drawn.append(
        f'<text x="{LEFT + WIDE / 2}" y="{TOP + HIGH + 34}" text-anchor="middle">{x_name}</text>'
        f'<text x="{LEFT}" y="{TOP - 4}">{y_name}</text>'
    )
    width, height = LEFT + WIDE + 24, TOP + HIGH + 42
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}">'
    return f"{head}<title>{escape(y_name)}</title>{''.join(drawn)}</svg>"


def _steps(points: Points, far: float, high: float) -> Points:
    found, before = [(float(LEFT), float(TOP + HIGH))], 0.0
    for x, y in points:
        across = LEFT + max(x, 0.0) / far * WIDE
        found += [(across, TOP + (1 - before / high) * HIGH), (across, TOP + (1 - y / high) * HIGH)]
        before = y
    return found
