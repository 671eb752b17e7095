"""``triage simulate --waiting``: what an order of reading gains some and costs others."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

import typer

from triage.commands import common
from triage.commands.simulate_arrivals import HOUR_S, Arrival
from triage.worklist import reading_room
from triage.worklist.context import DISCLAIMER
from triage.worklist.reading_room import Case, Comparison, Group

COLUMNS: Final = ("order", "studies", "n", "mean", "median", "p95", "longest", "gained")


@dataclass(frozen=True, slots=True)
class Detecting:
    """How a detector would flag, where the log does not say what one did."""

    sensitivity: float = 0.7
    """Share of the abnormal that it flags."""
    false_flags: float = 0.05
    """Share of the others."""
    seconds: float = 60.0
    """From a study's arrival to its flag."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Who reads, how fast, and when waiting alone puts a study above routine."""

    readers: int
    an_hour: float
    """Studies that one reads."""
    limit_s: float


def run(
    arrivals: Sequence[Arrival], detecting: Detecting, reading: Reading, seed: int
) -> dict[str, Any]:
    """Read the arrivals in three orders; gives what each group of studies waits, in minutes."""
    orders = reading_room.compare(
        cases(arrivals, detecting, reading, seed), readers=reading.readers, limit_s=reading.limit_s
    )
    return {
        "studies": len(arrivals),
        "readers": reading.readers,
        "an_hour": reading.an_hour,
        "limit_minutes": reading.limit_s / reading_room.MINUTE_S,
        "orders": [asdict(one) for one in orders],
        "disclaimer": DISCLAIMER,
    }


def cases(
    arrivals: Sequence[Arrival], detecting: Detecting, reading: Reading, seed: int
) -> list[Case]:
    """Give the arrivals as the readers meet them; the same seed draws the same flags."""
    dice = random.Random(seed)  # noqa: S311 - a simulation, no secret
    times = reading_room.reading_times(len(arrivals), HOUR_S / reading.an_hour, seed)
    found = []
    for one, read_s in zip(arrivals, times, strict=True):
        drawn = dice.random() < (detecting.sensitivity if one.abnormal else detecting.false_flags)
        flagged = drawn if one.flagged is None else one.flagged
        found.append(
            Case(one.at_s, one.at_s + detecting.seconds, int(flagged), read_s, one.abnormal)
        )
    return found


def tell(found: dict[str, Any], out: Path | None) -> None:
    """Print the comparison for people, and write its page."""
    orders = [
        Comparison(one["name"], {k: Group(**v) for k, v in one["groups"].items()}, one["promoted"])
        for one in found["orders"]
    ]
    rows = [
        (order.name, name, group.n, *_minutes(order, group))
        for order in orders
        for name, group in order.groups.items()
    ]
    common.print_table(COLUMNS, rows)
    promoted = orders[-1].promoted
    typer.echo(
        f"Minutes; {found['readers']} readers, {found['an_hour']:g} studies an hour each; the "
        f"limit of {found['limit_minutes']:g} min promotes {promoted}."
    )
    typer.echo(DISCLAIMER)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "waiting.html").write_text(page(found, rows), encoding="utf-8")
        typer.echo(f"Look at {out / 'waiting.html'}")


def page(found: dict[str, Any], rows: Sequence[Sequence[Any]]) -> str:
    """Give the page of the comparison."""
    head = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Waiting times</title>'
        "<style>body{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse}td,th{padding:.1rem .8rem .1rem 0;text-align:left}</style>"
        f"</head><body><h1>Waiting times of {found['studies']} studies, in minutes</h1>"
        f"<p>{found['readers']} readers, {found['an_hour']:g} studies an hour each; the limit is "
        f"{found['limit_minutes']:g} min. The same studies and reading times in each order.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<p>{escape(DISCLAIMER)}</p></body></html>\n"
    )


def _minutes(order: Comparison, group: Group) -> tuple[str, ...]:
    values = (group.mean, group.median, group.p95, group.longest)
    by_arrival = order.name == "by arrival"
    gained = "" if by_arrival else f"{group.gained:+.1f}"
    return (*(f"{value:.1f}" for value in values), gained)
