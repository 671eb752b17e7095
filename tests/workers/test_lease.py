import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from db import lifecycle
from db.audit import SUCCESS, Entry, Event, record, verify
from db.engine import Database, now
from db.lifecycle import Claim
from db.states import StudyState
from db.tables import StudyRow
from triage import settings as noun
from triage.settings import Work
from workers.housekeeping import bury, free_the_dead, keep, seal, seal_new
from workers.lease import EXIT_WALL_LIMIT, held, is_dead, owner

PACE = Work(lease_s=0.6, wall_limit_s=30, max_attempts=3)


def study(database: Database) -> int:
    with database.begin() as session:
        at = now(session)
        row = StudyRow(study_instance_uid="1.2.3", due_at=at, received_at=at, last_instance_at=at)
        session.add(row)
        session.flush()
        return row.id


def claimed(
    database: Database, study_id: int, name: str | None = None, *, pace: Work = PACE
) -> Claim:
    with database.begin() as session:
        claim = lifecycle.claim(
            session, study_id, [StudyState.RECEIVING], owner=name or owner(),
            lease=timedelta(seconds=pace.lease_s), max_attempts=pace.max_attempts,
        )  # fmt: skip
    assert claim is not None
    return claim


def leased_until(database: Database) -> object:
    with database.reading() as session:
        return session.scalars(select(StudyRow.leased_until)).one()


def test_the_heartbeat_outlives_the_lease(database: Database) -> None:
    """Of two seconds: a machine that stands still for half of one is no dead worker."""
    pace = PACE.model_copy(update={"lease_s": 2.0})
    claim = claimed(database, study(database), pace=pace)
    with held(database, claim, pace):
        time.sleep(2.5 * pace.lease_s)
        with database.reading() as session:
            states = [StudyState.RECEIVING]
            assert lifecycle.due(session, states, limit=5, max_attempts=3) == []


def test_a_living_owner_is_not_dead_and_an_ended_one_is() -> None:
    assert not is_dead(owner())
    code = "from workers.lease import owner; print(owner())"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert is_dead(answer.stdout.strip())
    assert not is_dead("another-host:boot:1:1")
    assert not is_dead("nonsense")


def test_the_lease_of_a_killed_worker_ends_at_once(database: Database) -> None:
    study_id = study(database)
    code = (
        "from workers.lease import owner; import time; print(owner(), flush=True); time.sleep(60)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    claimed(database, study_id, worker.stdout.readline().strip())
    assert free_the_dead(database) == 0
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    assert free_the_dead(database) == 1
    assert leased_until(database) is None


def test_three_crashes_bury_the_study_with_an_audit_row(database: Database) -> None:
    study_id = study(database)
    for _ in range(PACE.max_attempts):
        claimed(database, study_id, "gone:x:1:1")
        with database.begin() as session:
            lifecycle.abandon(session, ["gone:x:1:1"])
    assert bury(database, PACE.max_attempts) == 1
    with database.reading() as session:
        row = session.get_one(StudyRow, study_id)
    assert (row.state, row.outcome, row.reason_code) == ("failed", "failed", "crashed")
    assert seal(database) == 1


@pytest.mark.postgres
def test_what_committed_too_late_for_the_quick_round_is_sealed_by_the_slow_one(
    postgres_database: Database, tmp_path: Path
) -> None:
    entry = Entry(event=Event.QUERY, kind="worklist.list", outcome=SUCCESS, actor="reader")
    with postgres_database.begin() as late:
        record(late, entry)
        late.flush()
        with postgres_database.begin() as session:
            record(session, entry)
        seal_new(postgres_database)
    seal_new(postgres_database)
    with postgres_database.reading() as session:
        assert verify(session).unsealed == 1
    keep(postgres_database, noun.load(tmp_path))
    with postgres_database.reading() as session:
        assert verify(session).unsealed == 0


@pytest.mark.timeout(60)
def test_a_hung_step_ends_its_process(sqlite_database: Database) -> None:
    study_id = study(sqlite_database)
    url = sqlite_database.engine.url.render_as_string(hide_password=False)
    code = f"""
import time
from datetime import timedelta
from db import lifecycle
from db.audit import SUCCESS, Entry, Event, record, verify
from db.engine import connect
from db.states import StudyState
from triage.settings import Work
from workers.lease import held, owner
database = connect({url!r})
with database.begin() as session:
    claim = lifecycle.claim(session, {study_id}, [StudyState.RECEIVING], owner=owner(),
                            lease=timedelta(seconds=1), max_attempts=3)
with held(database, claim, Work(lease_s=0.6, wall_limit_s=1)):
    time.sleep(50)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == EXIT_WALL_LIMIT
    assert free_the_dead(sqlite_database) == 1
