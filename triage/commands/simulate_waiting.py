"""What an order of reading gains some studies and costs others: ``triage simulate`` on a log.

With ``--waiting`` nothing else is done; without it the log is sent, too.
"""

import random
from collections.abc import Mapping, Sequence
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


def tell(found: Mapping[str, Any], out: Path | None) -> None:
    """Print the comparison for people, and write its page."""
    tell_orders(found)
    typer.echo(DISCLAIMER)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "waiting.html").write_text(page(found), encoding="utf-8")
        typer.echo(f"Look at {out / 'waiting.html'}")


def tell_orders(found: Mapping[str, Any]) -> None:
    """Print what each group of studies waits in each order, and who gains and loses."""
    common.print_table(COLUMNS, _rows(found))
    promoted = found["orders"][-1]["promoted"]
    typer.echo(
        f"Minutes; {found['readers']} readers, {found['an_hour']:g} studies an hour each; the "
        f"limit of {found['limit_minutes']:g} min promotes {promoted}."
    )
    for sentence in changes(found):
        typer.echo(sentence)


def changes(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Say of each order what the flagged gain and the others lose on average."""
    return tuple(_change(one) for one in _orders(found)[1:])


def section(found: Mapping[str, Any]) -> str:
    """Give the comparison as a part of a page."""
    head = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>"
        for row in _rows(found)
    )
    return (
        f"<p>{found['readers']} readers, {found['an_hour']:g} studies an hour each; the limit is "
        f"{found['limit_minutes']:g} min. The same studies and reading times in each order.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<ul>{''.join(f'<li>{escape(one)}</li>' for one in changes(found))}</ul>"
    )


def page(found: Mapping[str, Any]) -> str:
    """Give the page of the comparison."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Waiting times</title>'
        "<style>body{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse}td,th{padding:.1rem .8rem .1rem 0;text-align:left}</style>"
        f"</head><body><h1>Waiting times of {found['studies']} studies, in minutes</h1>"
        f"{section(found)}"
        f"<p>{escape(DISCLAIMER)}</p></body></html>\n"
    )


def _orders(found: Mapping[str, Any]) -> list[Comparison]:
    return [
        Comparison(one["name"], {k: Group(**v) for k, v in one["groups"].items()}, one["promoted"])
        for one in found["orders"]
    ]


def _rows(found: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (order.name, name, group.n, *_minutes(order, group))
        for order in _orders(found)
        for name, group in order.groups.items()
    ]


def _change(order: Comparison) -> str:
    said = [
        f"{group.n} {words} wait {abs(group.gained):.1f} min "
        f"{'less' if group.gained >= 0 else 'more'}"
        for name, words in (("prioritised", "flagged"), ("not prioritised", "others"))
        if (group := order.groups.get(name))
    ]
    return f"Read {order.name}, {' and '.join(said)} on average than by arrival."


def _minutes(order: Comparison, group: Group) -> tuple[str, ...]:
    values = (group.mean, group.median, group.p95, group.longest)
    by_arrival = order.name == "by arrival"
    gained = "" if by_arrival else f"{group.gained:+.1f}"
    return (*(f"{value:.1f}" for value in values), gained)
