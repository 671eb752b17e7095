"""The page of waiting times: the ledger as it was, and the three orders."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from db.audit import Event
from db.engine import Database, now
from db.tables import AuditRow, DecisionRow, StudyRow
from db.turnaround import Passage, passages
from tests.triage.worklist.builders import add_report, add_study
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited
from triage.worklist.context import DISCLAIMER
from triage.worklist.waiting import ledger, simulated

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def add_passage(session: Session, at: datetime, priority: int) -> StudyRow:
    """Add a study: decided, notified and opened 1, 2 and 4 minutes after its last image."""
    study = add_study(
        session, "prioritised" if priority else "not prioritised", priority=priority,
        received_at=at - MINUTE, last_instance_at=at,
    )  # fmt: skip
    session.add_all((
        DecisionRow(
            study_id=study.id, generation=1, fence=1, outcome=study.outcome, priority=priority,
            priority_name="", sentence="", mode="triage", at=at + MINUTE,
        ),
        add_report(study, at + MINUTE, sent_at=at + 2 * MINUTE),
        add_report(study, at + MINUTE, destination="second", sent_at=at + 9 * MINUTE),
        seen(study, at + 3 * MINUTE, "admin"),
        seen(study, at + 4 * MINUTE, "admin radiologist"),
        seen(study, at + 8 * MINUTE, "radiologist"),
    ))  # fmt: skip
    session.flush()
    return study


def seen(study: StudyRow, at: datetime, role: str) -> AuditRow:
    return AuditRow(
        at=at, event_id=Event.INSTANCES_ACCESSED, event_type="study.seen", action="R", outcome=0,
        actor="somebody", actor_role=role, object_type="study",
        object_id=study.study_instance_uid,
    )  # fmt: skip


def test_a_passage_holds_the_first_of_each_step(database: Database) -> None:
    with database.begin() as session:
        at = now(session) - timedelta(hours=1)
        add_passage(session, at, 1)
        add_study(session, "pending", minutes=30.0)
        add_study(session, minutes=60.0 * 24 * 9)
    with database.reading() as session:
        young, old = passages(session, at - timedelta(days=1))
    assert (young.decided_at, young.notified_at, young.opened_at) == (None, None, None)
    assert (old.decided_at, old.notified_at) == (at + MINUTE, at + 2 * MINUTE)
    assert old.opened_at == at + 4 * MINUTE


def test_after_a_late_image_the_second_decision_notice_and_look_are_counted(
    database: Database,
) -> None:
    """Ten studies; the late image of every other came 30 minutes after the rest of it."""
    with database.begin() as session:
        at = now(session) - timedelta(hours=3)
        for number in range(10):
            study = add_passage(session, at, 1)
            if number % 2:
                late = at + 30 * MINUTE
                study.last_instance_at, study.generation = late, 2
                session.add_all((
                    # of the first content, though the destination took it after the late image
                    add_report(study, at + MINUTE, generation=1, sent_at=late + MINUTE),
                    DecisionRow(
                        study_id=study.id, generation=2, fence=2, outcome="prioritised",
                        priority=1, priority_name="", sentence="", mode="triage",
                        at=late + 3 * MINUTE,
                    ),
                    add_report(study, late + 3 * MINUTE, sent_at=late + 5 * MINUTE),
                    seen(study, late + 7 * MINUTE, "radiologist"),
                ))  # fmt: skip
                session.flush()
    with database.reading() as session:
        found = passages(session, at - timedelta(days=1))
    spent = {
        (
            (one.decided_at or at) - one.last_instance_at,
            (one.notified_at or at) - one.last_instance_at,
            (one.opened_at or at) - one.last_instance_at,
        )
        for one in found
    }
    assert spent == {
        (MINUTE, 2 * MINUTE, 4 * MINUTE), (3 * MINUTE, 5 * MINUTE, 7 * MINUTE),
    }  # fmt: skip
    counts = {one.step: one.n for one in ledger(found) if one.group == "all"}
    assert counts == {"decided": 10, "notified": 10, "opened": 10}


def test_what_was_only_decided_before_a_late_image_has_not_come_to_the_step(
    database: Database,
) -> None:
    with database.begin() as session:
        at = now(session) - timedelta(hours=3)
        add_passage(session, at, 1).last_instance_at = at + 30 * MINUTE
    with database.reading() as session:
        [one] = passages(session, at - timedelta(days=1))
    assert (one.decided_at, one.notified_at, one.opened_at) == (None, None, None)


def passed(minutes: float, priority: int, *, opened: float | None = 4.0) -> Passage:
    at = NOON + minutes * MINUTE
    return Passage(
        study_id=int(minutes), priority=priority, outcome="", received_at=at, last_instance_at=at,
        decided_at=at + MINUTE, notified_at=None,
        opened_at=None if opened is None else at + opened * MINUTE,
    )  # fmt: skip


def test_the_ledger_counts_only_what_came_to_the_step() -> None:
    found = {(one.step, one.group): one for one in ledger([passed(n, n % 2) for n in range(100)])}
    assert ("notified", "all") not in found
    assert found["decided", "all"].p99 == 60
    assert found["opened", "prioritised"].n == 50
    late = ledger([passed(0, 1, opened=-5.0), passed(1, 1, opened=None), passed(2, 1)])
    assert [one.n for one in late if (one.step, one.group) == ("opened", "all")] == [1]


def test_percentiles_are_those_of_the_times() -> None:
    found = ledger([passed(n, 1, opened=n) for n in range(1, 102)])
    [opened] = [one for one in found if (one.step, one.group) == ("opened", "prioritised")]
    assert opened.p50 == pytest.approx(51 * 60)
    assert opened.p95 == pytest.approx(96 * 60)
    assert opened.p99 == pytest.approx(100 * 60)


def test_the_flagged_gain_and_the_others_lose_and_the_limit_gives_some_back() -> None:
    found = [passed(2 * n, int(n % 8 == 0)) for n in range(400)]
    day = simulated(found, readers=1, minutes=1.95, limit_s=600)
    _plain, by_priority, limited = day.orders
    assert 0.8 < day.load < 1.2
    assert by_priority.groups["prioritised"].gained > 0
    assert by_priority.groups["not prioritised"].gained < 0
    assert limited.promoted > 0
    assert limited.groups["prioritised"].gained < by_priority.groups["prioritised"].gained


def test_the_page_shows_both_tables_and_is_audited(client: Client, rows: Database) -> None:
    assert "Nothing came in these days" in client.get("/waiting").text
    with rows.begin() as session:
        for number in range(19):
            add_passage(session, now(session) - (60 + 3 * number) * MINUTE, number % 2)
    text = client.get("/waiting?days=2&readers=1&minutes=4").text
    for words in ("1 min", "2 min", "4 min", "By priority, with the limit", "min gained"):
        assert words in text, words
    assert "19 studies of the last 2 days" in text
    assert DISCLAIMER in text
    assert [row.object_type for row in audited(rows, "waiting.seen")] == ["worklist"] * 2


@pytest.mark.parametrize("query", ["days=0", "days=x", "readers=101", "minutes=0", "minutes=nan"])
def test_numbers_out_of_range_are_refused(client: Client, query: str) -> None:
    assert client.get(f"/waiting?{query}").status_code == 422
