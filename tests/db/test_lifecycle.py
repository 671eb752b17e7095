"""A claim is exclusive, ends by itself, and a stale one writes nothing."""

import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from db import lifecycle
from db.engine import Database, now
from db.lifecycle import Claim, StaleStudyError
from db.states import FINAL, StudyState
from db.tables import DetectionRow, StudyRow
from tests.db import builders
from tests.db.builders import MINUTE, NO_TIME, arrows, claim, claimed, get, new_study

S = StudyState


class TestClaim:
    def test_a_claimed_study_is_nobody_elses(self, database: Database) -> None:
        held = claimed(database, new_study(database))
        assert held == Claim(held.study_id, S.READY, fence=1, owner="worker")
        with database.begin() as session:
            assert claim(session, held.study_id, "other") is None
        row = get(database, held.study_id)
        assert (row.leased_by, row.attempts, row.fence) == ("worker", 1, 1)

    def test_a_lease_that_ran_out_can_be_claimed_again(self, database: Database) -> None:
        first = claimed(database, new_study(database), lease=NO_TIME)
        second = claimed(database, first.study_id, "other")
        assert second.fence == first.fence + 1

    def test_a_study_in_another_state_is_not_claimed(self, database: Database) -> None:
        study_id = new_study(database, S.READY)
        with database.begin() as session:
            held = lifecycle.claim(
                session, study_id, {S.ANALYSED}, owner="w", lease=MINUTE, max_attempts=3
            )
            assert held is None
            assert claim(session, 10**6) is None

    def test_a_study_that_is_not_due_waits(self, database: Database) -> None:
        with database.begin() as session:
            study = builders.add_study(session, due_at=now(session) + MINUTE)
            assert claim(session, study.id) is None

    def test_the_claim_sees_what_another_transaction_wrote(self, database: Database) -> None:
        """A row that the session loaded before is read anew once it is locked."""
        study_id = new_study(database)
        with database.reading() as session:
            seen = session.get_one(StudyRow, study_id)
        claimed(database, study_id)
        with database.begin() as session:
            session.add(seen)
            assert claim(session, study_id, "other") is None

    def test_after_the_last_attempt_nobody_claims_it(self, database: Database) -> None:
        study_id = new_study(database, attempts=3)
        with database.begin() as session:
            assert claim(session, study_id, max_attempts=3) is None
            assert claim(session, study_id, max_attempts=4) is not None

    def test_threads_share_the_studies_without_a_double(self, database: Database) -> None:
        ids = [new_study(database) for _ in range(12)]

        def work(owner: str) -> list[int]:
            mine = []
            for study_id in ids:
                with database.begin() as session:
                    if claim(session, study_id, owner) is not None:
                        mine.append(study_id)
            return mine

        with ThreadPoolExecutor(8) as pool:
            found = [one for mine in pool.map(work, map(str, range(8))) for one in mine]
        assert sorted(found) == ids

    def test_processes_share_the_studies_without_a_double(
        self, database: Database, url: str
    ) -> None:
        ids = [new_study(database) for _ in range(30)]
        command = [sys.executable, "-m", "tests.db.worker", "claim", url, *map(str, ids)]
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        found = [
            int(one) for worker in workers for one in worker.communicate(timeout=60)[0].split()
        ]
        assert [worker.returncode for worker in workers] == [0, 0, 0]
        assert sorted(found) == ids


class TestFence:
    """Whoever lost the study loses the result too."""

    @pytest.fixture
    def overtaken(self, database: Database) -> Claim:
        """A claim whose lease ran out and which someone else took over."""
        held = claimed(database, new_study(database), lease=NO_TIME)
        claimed(database, held.study_id, "other")
        return held

    def test_a_stale_worker_discards_its_result(self, database: Database, overtaken: Claim) -> None:
        with pytest.raises(StaleStudyError):
            builders.finish(database, overtaken)
        assert get(database, overtaken.study_id).state == S.READY
        assert arrows(database, overtaken.study_id) == []
        with database.reading() as session:
            assert session.scalar(select(func.count()).select_from(DetectionRow)) == 0

    def test_a_stale_worker_is_stopped_before_it_writes(
        self, database: Database, overtaken: Claim
    ) -> None:
        with pytest.raises(StaleStudyError), database.begin() as session:
            lifecycle.hold(session, overtaken)
        mine = claimed(database, new_study(database))
        with database.begin() as session:
            assert lifecycle.hold(session, mine).leased_by == "worker"

    def test_a_stale_worker_neither_renews_nor_gives_back(
        self, database: Database, overtaken: Claim
    ) -> None:
        with database.begin() as session:
            assert not lifecycle.renew(session, overtaken, MINUTE)
            assert not lifecycle.still_held(session, overtaken)
            lifecycle.release(session, overtaken)
            assert session.get_one(StudyRow, overtaken.study_id).leased_by == "other"
        with pytest.raises(StaleStudyError), database.begin() as session:
            lifecycle.postpone(session, overtaken, wait=MINUTE, reason="busy")

    def test_what_was_written_before_the_fence_is_met_rolls_back_too(
        self, database: Database, overtaken: Claim
    ) -> None:
        def write_first() -> None:
            with database.begin() as session:
                session.add_all(builders.result_rows(session, overtaken))
                session.flush()
                lifecycle.advance(session, overtaken, S.ANALYSED, reason="done")

        with pytest.raises(StaleStudyError):
            write_first()
        with database.reading() as session:
            assert session.scalar(select(func.count()).select_from(DetectionRow)) == 0

    @pytest.mark.parametrize("bump", ["touch", "move"])
    def test_an_arrival_makes_the_claim_stale(self, database: Database, bump: str) -> None:
        held = claimed(database, new_study(database, S.READY))
        with database.begin() as session:
            row = session.get_one(StudyRow, held.study_id, with_for_update=True)
            due_at = now(session)
            if bump == "touch":
                lifecycle.touch(session, row, due_at=due_at)
            else:
                lifecycle.move(
                    session, row, S.RECEIVING, reason="late", actor="ingestor", due_at=due_at
                )
        with database.begin() as session:
            assert not lifecycle.still_held(session, held)
        with pytest.raises(StaleStudyError), database.begin() as session:
            lifecycle.advance(session, held, S.ANALYSED, reason="done")

    def test_a_frozen_process_that_wakes_too_late_writes_nothing(
        self, database: Database, url: str
    ) -> None:
        study_id = new_study(database)
        command = [sys.executable, "-m", "tests.db.worker", "finish", url, str(study_id)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as frozen:
            assert frozen.stdin
            assert frozen.stdout
            assert frozen.stdout.readline() == "claimed\n"
            frozen.send_signal(signal.SIGSTOP)
            other = claimed(database, study_id, "other")
            builders.finish(database, other)
            frozen.send_signal(signal.SIGCONT)
            frozen.stdin.write("go on\n")
            frozen.stdin.flush()
            assert frozen.stdout.readline() == "stale\n"
        assert arrows(database, study_id) == [(S.READY, S.ANALYSED)]


class TestAdvance:
    def test_it_moves_the_study_writes_why_and_frees_it(self, database: Database) -> None:
        held = claimed(database, new_study(database, tries=2))
        with database.begin() as session:
            lifecycle.advance(session, held, S.ANALYSED, reason="prioritised")
        row = get(database, held.study_id)
        assert (row.state, row.leased_by, row.leased_until) == (S.ANALYSED, None, None)
        assert (row.attempts, row.tries, row.settled_at) == (0, 0, None)
        assert arrows(database, held.study_id) == [(S.READY, S.ANALYSED)]

    @pytest.mark.parametrize("fate", FINAL - {S.DELIVERED})
    def test_a_final_state_keeps_the_time_it_was_reached(
        self, database: Database, fate: StudyState
    ) -> None:
        held = claimed(database, new_study(database))
        with database.begin() as session:
            lifecycle.advance(session, held, fate, reason="so it is")
            at = now(session)
        settled_at = get(database, held.study_id).settled_at
        assert settled_at is not None
        assert abs(settled_at - at) < timedelta(seconds=5)

    def test_twice_is_once(self, database: Database) -> None:
        held = claimed(database, new_study(database))
        with database.begin() as session:
            lifecycle.advance(session, held, S.ANALYSED, reason="done")
        with pytest.raises(StaleStudyError), database.begin() as session:
            lifecycle.advance(session, held, S.ANALYSED, reason="done")
        assert len(arrows(database, held.study_id)) == 1

    def test_the_database_refuses_a_state_without_a_transition(self, database: Database) -> None:
        study_id = new_study(database)
        for wrong in (S.ANALYSED, S.REJECTED):
            with pytest.raises(IntegrityError, match="state"), database.begin() as session:
                session.execute(update(StudyRow).where(StudyRow.id == study_id).values(state=wrong))
        assert get(database, study_id).state == S.READY

    def test_the_database_refuses_a_state_that_the_transition_does_not_name(
        self, database: Database
    ) -> None:
        held = claimed(database, new_study(database))
        with database.begin() as session:
            lifecycle.advance(session, held, S.ANALYSED, reason="done")
        with pytest.raises(IntegrityError), database.begin() as session:
            session.get_one(StudyRow, held.study_id).state = S.FAILED


class TestPostpone:
    def test_it_counts_tries_and_forgets_attempts(self, database: Database) -> None:
        study_id = new_study(database)
        for count in (1, 2, 3):
            held = claimed(database, study_id)
            with database.begin() as session:
                assert lifecycle.tries(session, held) == count - 1
                lifecycle.postpone(session, held, wait=NO_TIME, reason="the PACS is busy")
            row = get(database, study_id)
            assert (row.tries, row.attempts, row.state) == (count, 0, S.READY)
            assert row.leased_until is None

    def test_the_study_waits_as_long_as_it_was_told(self, database: Database) -> None:
        held = claimed(database, new_study(database))
        with database.begin() as session:
            before = now(session)
            lifecycle.postpone(session, held, wait=MINUTE, reason="busy")
        assert get(database, held.study_id).due_at >= before + MINUTE
        with database.begin() as session:
            assert claim(session, held.study_id) is None

    def test_giving_back_leaves_no_trace(self, database: Database) -> None:
        held = claimed(database, new_study(database))
        with database.begin() as session:
            lifecycle.release(session, held)
        row = get(database, held.study_id)
        assert (row.attempts, row.leased_by, row.leased_until) == (0, None, None)
        assert claimed(database, held.study_id, "other").fence == 2

    def test_a_renewed_lease_is_longer(self, database: Database) -> None:
        held = claimed(database, new_study(database), lease=NO_TIME)
        with database.begin() as session:
            assert lifecycle.renew(session, held, MINUTE)
        with database.begin() as session:
            assert claim(session, held.study_id, "other") is None


class TestDue:
    def test_the_urgent_come_first_then_those_that_wait_longest(self, database: Database) -> None:
        with database.begin() as session:
            at = now(session)

            def study(priority: int, waited: int) -> int:
                due_at = at - timedelta(seconds=waited)
                return builders.add_study(session, priority=priority, due_at=due_at).id

            late, urgent, old = study(0, 10), study(2, 1), study(0, 500)
            builders.add_study(session, due_at=at + MINUTE)
            builders.add_study(session, S.HELD)
            builders.add_study(session, leased_until=at + MINUTE, leased_by="w")
            builders.add_study(session, attempts=3)
            expired = builders.add_study(session, leased_until=at, leased_by="w").id
        with database.reading() as session:
            found = lifecycle.due(session, {S.READY}, limit=10, max_attempts=3)
        assert found == [(one, S.READY) for one in (urgent, old, late, expired)]

    def test_it_gives_no_more_than_it_is_asked_for(self, database: Database) -> None:
        for _ in range(3):
            new_study(database)
        with database.reading() as session:
            assert len(lifecycle.due(session, {S.READY}, limit=2, max_attempts=3)) == 2


class TestBury:
    def test_what_crashed_too_often_fails_visibly(self, database: Database) -> None:
        study_id = new_study(database, attempts=3)
        busy = new_study(database, attempts=3)
        with database.begin() as session:
            session.get_one(StudyRow, busy).leased_until = now(session) + MINUTE
        with database.begin() as session:
            assert lifecycle.bury(session, max_attempts=3) == [study_id]
        row = get(database, study_id)
        assert (row.state, row.outcome, row.reason_code) == (S.FAILED, "failed", "crashed")
        assert row.settled_at is not None
        assert arrows(database, study_id) == [(S.READY, S.FAILED)]
        assert get(database, busy).state == S.READY

    def test_a_finding_whose_delivery_crashes_stays_a_finding(self, database: Database) -> None:
        study_id = new_study(database, S.ANALYSED, attempts=3, outcome="prioritised", sentence="s")
        with database.begin() as session:
            lifecycle.bury(session, max_attempts=3)
        row = get(database, study_id)
        assert (row.state, row.outcome, row.sentence) == (S.FAILED, "prioritised", "s")
        assert row.reason_code == "crashed"

    def test_a_retry_resumes_where_the_study_failed(self, database: Database) -> None:
        study_id = new_study(database, S.ANALYSED, attempts=3)
        with database.begin() as session:
            lifecycle.bury(session, max_attempts=3)
            assert lifecycle.failed_from(session, study_id) == S.ANALYSED
            assert lifecycle.failed_from(session, study_id + 1) == S.READY

    def test_a_worker_that_wakes_after_the_burial_writes_nothing(self, database: Database) -> None:
        held = claimed(database, new_study(database, attempts=2), lease=NO_TIME)
        with database.begin() as session:
            assert lifecycle.bury(session, max_attempts=3) == [held.study_id]
        with pytest.raises(StaleStudyError), database.begin() as session:
            lifecycle.advance(session, held, S.ANALYSED, reason="done")


class TestDeadOwners:
    def test_their_studies_are_free_at_once(self, database: Database) -> None:
        held = claimed(database, new_study(database), "dead")
        alive = claimed(database, new_study(database), "alive")
        with database.begin() as session:
            assert sorted(lifecycle.lease_owners(session)) == ["alive", "dead"]
            assert lifecycle.abandon(session, ["dead"]) == 1
            assert claim(session, held.study_id, "other") is not None
            assert claim(session, alive.study_id, "other") is None


class TestPublish:
    def test_a_study_is_published_once_in_a_while(self, database: Database) -> None:
        study_id = new_study(database)

        def publish(after: timedelta) -> list[int]:
            with database.begin() as session:
                found = lifecycle.publishable(session, after=after, limit=9, max_attempts=3)
                return [one for one, _ in found]

        assert publish(MINUTE) == [study_id]
        assert publish(MINUTE) == []
        assert publish(NO_TIME) == [study_id]
        with database.begin() as session:
            lifecycle.unpublish(session, [study_id])
        assert publish(MINUTE) == [study_id]

    def test_two_dispatchers_publish_each_study_once(self, database: Database) -> None:
        ids = [new_study(database) for _ in range(40)]

        def publish(_: int) -> list[int]:
            mine: list[int] = []
            for _turn in range(10):
                with database.begin() as session:
                    found = lifecycle.publishable(session, after=MINUTE, limit=4, max_attempts=3)
                    mine += [one for one, _ in found]
            return mine

        with ThreadPoolExecutor(4) as pool:
            found = [one for mine in pool.map(publish, range(4)) for one in mine]
        assert sorted(found) == ids


@pytest.mark.postgres
def test_two_people_who_retry_at_once_move_the_study_once(postgres_database: Database) -> None:
    """Neither locked the row, so the second finds it changed."""
    database = postgres_database
    study_id = new_study(database, S.FAILED)

    def retry(meanwhile: Callable[[], None]) -> None:
        with database.begin() as session:
            row = session.get_one(StudyRow, study_id)
            meanwhile()
            at = now(session)
            lifecycle.move(session, row, S.READY, reason="retry", actor="person", due_at=at)

    with pytest.raises(StaleStudyError):
        retry(lambda: retry(lambda: None))
    assert arrows(database, study_id) == [(S.FAILED, S.READY)]


def test_every_move_is_written_down(database: Database) -> None:
    """The transitions of a study join end to end from its first state to its present one."""
    study_id = new_study(database, S.RECEIVING)
    for new in (S.READY, S.ANALYSED, S.DELIVERED):
        held = claimed(database, study_id)
        with database.begin() as session:
            lifecycle.advance(session, held, new, reason="on its way")
    with database.begin() as session:
        row = session.get_one(StudyRow, study_id, with_for_update=True)
        at = now(session)
        lifecycle.move(session, row, S.RECEIVING, reason="late", actor="ingestor", due_at=at)
    walked = arrows(database, study_id)
    assert [old for old, _ in walked] == [S.RECEIVING, *(new for _, new in walked[:-1])]
    assert walked[-1][1] == get(database, study_id).state
