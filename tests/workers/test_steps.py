from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import lifecycle
from db.engine import Database, now
from db.lifecycle import Claim
from db.states import StudyState
from db.tables import AuditRow, StudyRow, TransitionRow
from triage.errors import Broken, Held, NotEligible, Reason, TryAgain
from triage.settings import Work
from workers.steps import Step, backoff

PACE = Work(max_tries=3, retry_first_s=1, retry_longest_s=8)


def study(database: Database) -> int:
    with database.begin() as session:
        at = now(session)
        row = StudyRow(study_instance_uid="1.2.3", due_at=at, received_at=at, last_instance_at=at)
        session.add(row)
        session.flush()
        return row.id


def claim_of(database: Database, study_id: int) -> Claim:
    with database.begin() as session:
        session.get_one(StudyRow, study_id).due_at = now(session)
    with database.begin() as session:
        claim = lifecycle.claim(
            session, study_id, [StudyState.RECEIVING], owner="me", lease=timedelta(seconds=30),
            max_attempts=3,
        )  # fmt: skip
    assert claim is not None
    return claim


def step(work: Callable[[int], int]) -> Step[int, int]:
    def save(session: Session, claim: Claim, _after: int) -> None:
        lifecycle.advance(session, claim, StudyState.READY, reason="done")

    def refuse(session: Session, claim: Claim, reason: Reason, _before: int) -> None:
        lifecycle.advance(session, claim, StudyState.REJECTED, reason=str(reason))

    return Step(
        name="test", old=StudyState.RECEIVING, load=lambda _session, number: number, work=work,
        save=save, refuse=refuse,
    )  # fmt: skip


def run(database: Database, work: Callable[[int], int]) -> StudyRow:
    study_id = study(database)
    step(work).run(database, claim_of(database, study_id), PACE)
    return row_of(database, study_id)


def row_of(database: Database, study_id: int) -> StudyRow:
    with database.reading() as session:
        return session.get_one(StudyRow, study_id)


def failing(error: Exception) -> Callable[[int], int]:
    def work(_number: int) -> int:
        raise error

    return work


def test_a_step_that_works_moves_the_study_along(database: Database) -> None:
    row = run(database, lambda number: number)
    assert (row.state, row.leased_until, row.attempts) == (StudyState.READY, None, 0)


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (NotEligible("no-route"), StudyState.REJECTED, None),
        (Held("pixel-data"), StudyState.HELD, "pixel-data"),
        (Broken("corrupt"), StudyState.FAILED, "corrupt"),
        (KeyError("PatientName"), StudyState.FAILED, "internal"),
        (MemoryError(), StudyState.FAILED, "internal"),
    ],
    ids=["not eligible", "held", "broken", "a bug", "out of memory"],
)
def test_an_errors_class_is_its_consequence(
    database: Database, error: Exception, state: StudyState, code: str | None
) -> None:
    row = run(database, failing(error))
    assert (row.state, row.reason_code) == (state, code)
    assert "PatientName" not in f"{row.sentence}{row.reason_detail}"
    with database.reading() as session:
        [moved] = session.scalars(select(TransitionRow)).all()
    assert moved.new == state


def test_a_stop_is_audited_in_the_same_transaction(database: Database) -> None:
    run(database, failing(Held("pixel-data")))
    with database.reading() as session:
        [audit] = session.scalars(select(AuditRow)).all()
    assert (audit.event_type, audit.outcome) == ("study.held", 4)


def test_try_again_waits_longer_each_time_and_then_fails(database: Database) -> None:
    study_id = study(database)
    busy = step(failing(TryAgain("the PACS is busy")))
    for tries in (1, 2):
        busy.run(database, claim_of(database, study_id), PACE)
        row = row_of(database, study_id)
        assert (row.state, row.tries, row.attempts) == (StudyState.RECEIVING, tries, 0)
    busy.run(database, claim_of(database, study_id), PACE)
    row = row_of(database, study_id)
    assert (row.state, row.reason_code) == (StudyState.FAILED, "gave-up")
    assert [backoff(n, PACE).total_seconds() for n in range(5)] == [1, 2, 4, 8, 8]


def test_a_stale_worker_writes_nothing(database: Database) -> None:
    study_id = study(database)
    stale = claim_of(database, study_id)
    with database.begin() as session:
        lifecycle.touch(session, session.get_one(StudyRow, study_id), due_at=now(session))
    for work in (lambda number: number, failing(Held("pixel-data")), failing(TryAgain("later"))):
        step(work).run(database, stale, PACE)
    row = row_of(database, study_id)
    assert (row.state, row.tries) == (StudyState.RECEIVING, 0)
    with database.reading() as session:
        assert session.scalars(select(TransitionRow)).all() == []
        assert session.scalars(select(AuditRow)).all() == []
