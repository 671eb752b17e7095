"""The page of waiting times: as they were, and what the order of reading changes about them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from db.engine import now
from db.turnaround import MOST, Passage, passages
from triage.worklist import context, reading_room
from triage.worklist.reading_room import MINUTE_S, Case, Comparison

router = APIRouter()
Days = Annotated[int, Query(ge=1, le=90)]
Readers = Annotated[int, Query(ge=1, le=100)]
Minutes = Annotated[float, Query(gt=0, le=240)]
STEPS: Final[tuple[tuple[str, Callable[[Passage], datetime | None]], ...]] = (
    ("decided", lambda one: one.decided_at),
    ("notified", lambda one: one.notified_at),
    ("opened", lambda one: one.opened_at),
)
GROUPS: Final[tuple[tuple[str, Callable[[Passage], bool]], ...]] = (
    ("all", lambda _one: True),
    ("prioritised", lambda one: one.priority > 0),
    ("not prioritised", lambda one: one.priority == 0),
)


@dataclass(frozen=True, slots=True)
class Line:
    """How long some studies took from their last image to one step, in seconds."""

    step: str
    group: str
    n: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Day:
    """What a page simulates: whose studies, and how they are read."""

    readers: int
    minutes: float
    load: float
    """Reading time that comes, over that which the readers have."""
    orders: tuple[Comparison, ...]


@router.get("/waiting")
def waiting(
    request: Request, days: Days = 7, readers: Readers = 1, minutes: Minutes = 3.0
) -> Response:
    """Show how long studies waited, and would have waited in another order."""
    here = context.of(request)
    with here.database.reading() as session:
        at = now(session)
        found = passages(session, at - timedelta(days=days))
    seen = context.query_entry(request, "waiting.seen", {"count": len(found), "days": days})
    noted = context.note(request, seen)
    limit = here.settings.policy.promote_after_s
    values = {
        "ledger": ledger(found),
        "day": simulated(found, readers, minutes, limit) if found else None,
        "count": len(found),
        "full": len(found) == MOST,
        "days": days,
        "readers": readers,
        "minutes": minutes,
        "promote_after": timedelta(seconds=limit),
        "clock": here.clock(at),
    }
    return context.page(request, "waiting.html", values, noted=noted)


def ledger(found: Sequence[Passage]) -> tuple[Line, ...]:
    """Give the time from the last image to each step, for those studies that came to it."""
    lines = []
    for step, moment in STEPS:
        for group, belongs in GROUPS:
            took = sorted(
                (reached - one.last_instance_at).total_seconds()
                for one in found
                if belongs(one)
                and (reached := moment(one)) is not None
                # a late image reopens a study: what came before it is of the older content
                and reached >= one.last_instance_at
            )
            if took:
                cuts = (reading_room.quantile(took, share) for share in (0.5, 0.95, 0.99))
                lines.append(Line(step, group, len(took), *cuts))
    return tuple(lines)


def simulated(found: Sequence[Passage], readers: int, minutes: float, limit_s: float) -> Day:
    """Read these studies once by arrival, once by priority, once with the limit."""
    oldest_first = sorted(found, key=lambda one: (one.last_instance_at, one.study_id))
    begin = oldest_first[0].last_instance_at
    times = reading_room.reading_times(len(found), minutes * MINUTE_S)
    cases = [
        Case(
            arrived_s=(one.last_instance_at - begin).total_seconds(),
            decided_s=((one.decided_at or one.last_instance_at) - begin).total_seconds(),
            priority=one.priority,
            read_s=read_s,
        )
        for one, read_s in zip(oldest_first, times, strict=True)
    ]
    span_s = max(cases[-1].arrived_s, MINUTE_S)
    load = sum(times) / (span_s * readers)
    return Day(
        readers, minutes, load, reading_room.compare(cases, readers=readers, limit_s=limit_s)
    )
