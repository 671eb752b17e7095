"""Time the worklist's reading at 100,000 studies on SQLite: ``python -m tests.bench.worklist``.

Prints the median and the worst of twenty readings of each list, in milliseconds.
"""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from db import queries
from db.base import Base
from db.engine import Database, connect
from db.listing import Clock, Listing, Order, Worklist
from db.states import StudyState
from db.tables import StudyRow

STUDIES = 100_000
ROUNDS = 20
PAGE = 50
OUTCOMES = ("not prioritised", "prioritised", "not analysed", "pending", "failed", "held")
SHARES = (84.0, 10.0, 5.0, 0.8, 0.15, 0.05)
RESTS = {
    "pending": StudyState.READY,
    "not analysed": StudyState.REJECTED,
    "failed": StudyState.FAILED,
    "held": StudyState.HELD,
}


def fill(database: Database, studies: int, until: datetime) -> None:
    """Write that many studies that arrived evenly over the thirty days before ``until``."""
    dice = random.Random(7)
    rows = (_row(dice, number, until, studies) for number in range(studies))
    while batch := [row for _, row in zip(range(5_000), rows, strict=False)]:
        with database.begin() as session:
            session.execute(insert(StudyRow), batch)


def _row(dice: random.Random, number: int, until: datetime, studies: int) -> dict[str, Any]:
    arrived = until - timedelta(days=30) * (1 - number / studies)
    outcome = dice.choices(OUTCOMES, SHARES)[0]
    p_value = dice.random()
    judged = outcome in OUTCOMES[:2]
    return {
        "study_instance_uid": f"2.25.{number}",
        "state": RESTS.get(outcome, StudyState.DELIVERED),
        "due_at": arrived,
        "received_at": arrived,
        "last_instance_at": arrived,
        "generation": 1,
        "outcome": outcome,
        "priority": dice.choice((1, 2)) if outcome == "prioritised" else 0,
        "rank": round(1 - p_value, 3) if judged else None,
        "score": dice.random() if judged else None,
        "sentence": "At least as unusual as 990 of 1000 healthy studies of DX/CHEST/adult.",
        "patient_id": f"P{dice.randrange(10**7):07d}",
        "patient_name": f"FAMILY{dice.randrange(10**5)}^GIVEN",
        "accession_number": f"A{number:07d}",
    }


def _time(database: Database, read: Callable[[Session], object]) -> tuple[float, float]:
    spent_ms = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        with database.reading() as session:
            read(session)
        spent_ms.append((time.perf_counter() - start) * 1000)
    return statistics.median(spent_ms), max(spent_ms)


def main() -> None:
    """Fill a fresh database and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        database = connect(f"sqlite:///{Path(folder) / 'bench.sqlite'}")
        Base.metadata.create_all(database.engine)
        until = datetime.now(UTC)
        fill(database, STUDIES, until)
        clock = Clock(until, timedelta(hours=4), timedelta(minutes=15))
        for order in Order:
            for listing in Listing:
                _report(database, f"{order}: {listing}", Worklist(listing, order, clock))
        _print("counts", _time(database, lambda session: queries.counts(session, clock)))
        for text in ("FAMILY77777", "no such patient"):
            spent = _time(database, partial(queries.search, text=text, limit=PAGE))
            _print(f"search {text}", spent)
        database.dispose()


def _report(database: Database, name: str, worklist: Worklist) -> None:
    _print(f"{name}, first page", _time(database, partial(worklist.page, limit=PAGE)))
    with database.reading() as session:
        page = worklist.page(session, limit=PAGE)
        for _ in range(200):
            if page.after is None:
                break
            page = worklist.page(session, limit=PAGE, after=page.after)
    if page.studies:
        beside = _time(database, partial(worklist.neighbours, study=page.studies[-1]))
        _print(f"{name}, neighbours", beside)


def _print(name: str, spent: tuple[float, float]) -> None:
    sys.stdout.write(f"{name:40} median {spent[0]:6.1f}, worst {spent[1]:6.1f}\n")


if __name__ == "__main__":
    main()
