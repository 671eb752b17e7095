"""Any single failed statement leaves the rows as if nothing had happened, and doing it again works.

A fault before a statement is a lost connection; one after it is a lost answer; one after COMMIT is
the transaction in doubt.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, func, select

from db import lifecycle
from db.audit import record, seal, verify
from db.base import Base
from db.engine import Database
from db.lifecycle import Claim, StaleStudyError
from db.states import StudyState
from db.tables import (
    AuditRow,
    DecisionRow,
    DetectionRow,
    OutboxRow,
    StudyRow,
    TransitionRow,
)
from tests.db import builders

RESULTS = (DetectionRow, DecisionRow, OutboxRow)
MOMENTS = ["before_cursor_execute", "after_cursor_execute"]


class Injected(Exception):
    """The statement failed because we said so."""


@contextmanager
def failing(database: Database, moment: str, number: int) -> Iterator[list[str]]:
    """Let the ``number``-th statement fail; gives the statements that were met."""
    met: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        met.append(statement)
        if len(met) == number:
            raise Injected

    engines = [database.engine]
    if database.engine.dialect.name == "sqlite":  # PostgreSQL's readers tell the same listeners
        engines.append(database.readers)
    for engine in engines:
        event.listen(engine, moment, count)
    try:
        yield met
    finally:
        for engine in engines:
            event.remove(engine, moment, count)


def attempt(database: Database, moment: str, number: int, work: Callable[[], Any]) -> bool:
    """Run ``work`` with one fault; tells whether the fault was met."""
    with failing(database, moment, number) as met:
        try:
            work()
        except Injected:
            return True
    assert len(met) < number, "a fault was swallowed"
    return False


def count(database: Database, table: type[Base], study_id: int | None = None) -> int:
    query = select(func.count()).select_from(table)
    if study_id is not None:
        query = query.where(table.__table__.c.study_id == study_id)
    with database.reading() as session:
        return session.scalar(query) or 0


def written(database: Database, study_id: int) -> tuple[str, list[int], int]:
    """Give what is known of a study: state, result rows, transitions."""
    rows = [count(database, table, study_id) for table in RESULTS]
    state = builders.get(database, study_id).state
    return str(state), rows, count(database, TransitionRow, study_id)


NOTHING = ("ready", [0, 0, 0], 0)
ALL = ("analysed", [1, 1, 1], 1)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_result_is_written_whole_or_not_at_all(database: Database, moment: str) -> None:
    number, met, audited = 0, True, 0
    while met:
        number += 1
        held = builders.claimed(database, builders.new_study(database))
        met = attempt(database, moment, number, partial(builders.finish, database, held))
        if met:
            assert written(database, held.study_id) == NOTHING
            assert count(database, AuditRow) == audited
            builders.finish(database, held)
        audited += 1
        assert written(database, held.study_id) == ALL
        assert count(database, AuditRow) == audited
    held = builders.claimed(database, builders.new_study(database))
    with failing(database, moment, 0) as said:
        builders.finish(database, held)
    assert number == len(said) + 1, "a statement of the work was never made to fail"
    for table in (*RESULTS, TransitionRow, AuditRow):
        assert any(one.startswith(f"INSERT INTO {table.__tablename__} ") for one in said), said
    assert any(one.startswith("UPDATE study ") for one in said), said


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_claim_is_whole_or_not_at_all(database: Database, moment: str) -> None:
    number, met = 0, True
    while met:
        number += 1
        study_id = builders.new_study(database)
        met = attempt(database, moment, number, partial(builders.claimed, database, study_id))
        row = builders.get(database, study_id)
        expected = (0, 0, None) if met else (1, 1, "worker")
        assert (row.fence, row.attempts, row.leased_by) == expected
        if met:
            assert builders.claimed(database, study_id).fence == 1
    assert number > 3


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("what", ["postpone", "bury", "move"])
def test_other_moves_are_whole_or_not_at_all(database: Database, moment: str, what: str) -> None:
    number, met = 0, True
    while met:
        number += 1
        held = builders.claimed(database, builders.new_study(database, attempts=2))
        before = builders.get(database, held.study_id)
        work = {"postpone": postpone, "bury": bury, "move": move}[what]
        met = attempt(database, moment, number, partial(work, database, held))
        after = builders.get(database, held.study_id)
        changed = after.fence != before.fence or after.tries != before.tries
        assert changed != met
        assert count(database, TransitionRow, held.study_id) == (0 if met else 1)
        if met:
            work(database, held)
            assert count(database, TransitionRow, held.study_id) == 1
    assert number > 3


def postpone(database: Database, held: Claim) -> None:
    with database.begin() as session:
        lifecycle.postpone(session, held, wait=builders.NO_TIME, reason="busy")


def bury(database: Database, held: Claim) -> None:
    with database.begin() as session:
        session.get_one(StudyRow, held.study_id).leased_until = None
        lifecycle.bury(session, max_attempts=3)


def move(database: Database, held: Claim) -> None:
    with database.begin() as session:
        row = session.get_one(StudyRow, held.study_id, with_for_update=True)
        lifecycle.move(
            session, row, StudyState.RECEIVING, reason="late", actor="x", due_at=row.due_at
        )


@pytest.mark.parametrize("moment", MOMENTS)
def test_sealing_is_whole_or_not_at_all(database: Database, moment: str) -> None:
    number, met, total = 0, True, 0
    while met:
        number += 1
        with database.begin() as session:
            for _ in range(3):
                record(session, builders.entry())
        total += 3
        met = attempt(database, moment, number, partial(seal_once, database))
        with database.reading() as session:
            verdict = verify(session)
        assert verdict.ok
        assert verdict.unsealed == (3 if met else 0)
        seal_once(database)
        with database.reading() as session:
            assert verify(session).sealed == total
    assert number > 3


def seal_once(database: Database) -> None:
    with database.begin() as session:
        seal(session)


def test_a_commit_that_fails_leaves_nothing(database: Database) -> None:
    held = builders.claimed(database, builders.new_study(database))

    def refuse(_connection: object) -> None:
        raise Injected

    event.listen(database.engine, "commit", refuse)
    with pytest.raises(Injected):
        builders.finish(database, held)
    event.remove(database.engine, "commit", refuse)
    assert written(database, held.study_id) == NOTHING
    builders.finish(database, held)
    assert written(database, held.study_id) == ALL


def test_a_commit_in_doubt_is_settled_by_doing_it_again(database: Database) -> None:
    """COMMIT reached the database, its answer did not reach us: the fence tells."""
    held = builders.claimed(database, builders.new_study(database))

    def lose_answer() -> None:
        builders.finish(database, held)
        raise Injected

    with pytest.raises(Injected):
        lose_answer()
    with pytest.raises(StaleStudyError):
        builders.finish(database, held)
    assert written(database, held.study_id) == ALL
