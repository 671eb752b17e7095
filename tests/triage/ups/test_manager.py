"""The manager's rules, on both databases: PS3.4 Table CC.1.1-2 cell by cell."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine import Database
from db.tables import AuditRow
from db.ups import NoticeRow, WorkitemRow
from tests.triage.ups.items import (
    EVERYBODY,
    new_item,
    of_state,
    performed,
    progress,
    stopped,
    uid,
)
from triage.ups import manager, notices, watching
from triage.ups.content import keys_from_query, project
from triage.ups.rows import Asker, do
from triage.ups.words import FILTERED, GLOBAL, Event, NotDone, State, Status

OURS, THEIRS = "2.25.1", "2.25.2"
READY = {State.COMPLETED: performed, State.CANCELED: stopped}


def at(database: Database, state: State) -> str:
    """Make an item that has come to a state, claimed under OURS."""
    item = uid()
    with database.begin() as session:
        manager.create(session, EVERYBODY, item, new_item())
        if state is not State.SCHEDULED:
            manager.change_state(session, EVERYBODY, item, "IN PROGRESS", OURS)
        if state in READY:
            manager.update(session, EVERYBODY, item, READY[state](), OURS)
            manager.change_state(session, EVERYBODY, item, state, OURS)
    return item


def status_of(database: Database, deed: Callable[..., Any], item: object, *more: object) -> Status:
    """Give what a deed answers, done or refused."""
    try:
        status: Status = do(
            database,
            EVERYBODY,
            ("deed", str(item)),
            lambda session: deed(session, EVERYBODY, item, *more),
        )
    except NotDone as why:
        return why.status
    return status


def state_in(database: Database, item: str) -> str:
    with database.reading() as session:
        wanted = select(WorkitemRow.state).where(WorkitemRow.sop_instance_uid == item)
        return session.scalars(wanted).one()


def claimed_at_once(database: Database, item: str, count: int) -> list[Status]:
    """Have several performers claim an item in the same moment; gives their answers."""
    start, answers = threading.Barrier(count), list[Status]()

    def claim(transaction: str) -> None:
        start.wait()
        change = manager.change_state
        answers.append(status_of(database, change, item, "IN PROGRESS", transaction))

    threads = [threading.Thread(target=claim, args=(f"2.25.{n + 1}",)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


S = State
CHANGES = [
    # from, wanted, transaction, answer
    (S.SCHEDULED, "IN PROGRESS", OURS, Status.DONE),
    (S.SCHEDULED, "IN PROGRESS", "", Status.WRONG_TRANSACTION),
    (S.SCHEDULED, "COMPLETED", OURS, Status.NOT_CLAIMED),
    (S.SCHEDULED, "CANCELED", OURS, Status.NOT_CLAIMED),
    (S.SCHEDULED, "SCHEDULED", OURS, Status.NOT_BY_CHANGE),
    (S.IN_PROGRESS, "IN PROGRESS", OURS, Status.CLAIMED),
    (S.IN_PROGRESS, "IN PROGRESS", THEIRS, Status.WRONG_TRANSACTION),
    (S.IN_PROGRESS, "COMPLETED", OURS, Status.NOT_MET),
    (S.IN_PROGRESS, "CANCELED", OURS, Status.NOT_MET),
    (S.IN_PROGRESS, "COMPLETED", THEIRS, Status.WRONG_TRANSACTION),
    (S.IN_PROGRESS, "CANCELED", "", Status.WRONG_TRANSACTION),
    (S.IN_PROGRESS, "SCHEDULED", OURS, Status.NOT_BY_CHANGE),
    (S.COMPLETED, "COMPLETED", OURS, Status.ALREADY_COMPLETED),
    (S.COMPLETED, "CANCELED", OURS, Status.FINAL),
    (S.COMPLETED, "IN PROGRESS", OURS, Status.FINAL),
    (S.COMPLETED, "COMPLETED", THEIRS, Status.WRONG_TRANSACTION),
    (S.CANCELED, "CANCELED", OURS, Status.ALREADY_CANCELED),
    (S.CANCELED, "COMPLETED", OURS, Status.FINAL),
    (S.CANCELED, "IN PROGRESS", OURS, Status.FINAL),
    (S.CANCELED, "RUNNING", OURS, Status.BAD_ARGUMENT),
]


class TestStates:
    def test_every_cell_of_the_table_answers_as_the_standard_says(self, database: Database) -> None:
        found, after = [], []
        for old, wanted, transaction, answer in CHANGES:
            item = at(database, old)
            status = status_of(database, manager.change_state, item, wanted, transaction)
            found.append((old, wanted, transaction, status))
            after.append(state_in(database, item) == (wanted if answer == Status.DONE else old))
        assert found == CHANGES
        assert all(after)

    @pytest.mark.parametrize(("state", "ready"), READY.items())
    def test_an_item_ends_once_its_requirements_are_met(
        self, sqlite_database: Database, state: State, ready: Callable[[], Dataset]
    ) -> None:
        item = at(sqlite_database, State.IN_PROGRESS)
        assert status_of(sqlite_database, manager.update, item, ready(), OURS) == Status.DONE
        assert status_of(sqlite_database, manager.change_state, item, state, OURS) == Status.DONE
        assert state_in(sqlite_database, item) == state

    def test_one_of_the_performers_who_claim_at_once_gets_it(self, database: Database) -> None:
        for _ in range(2):
            answers = claimed_at_once(database, at(database, State.SCHEDULED), 4)
            assert sorted(answers) == [Status.DONE, *[Status.WRONG_TRANSACTION] * 3]

    def test_an_unknown_item_is_unknown_to_every_deed(self, sqlite_database: Database) -> None:
        nothing = Dataset()
        for deed, arguments in (
            (manager.get, ()),
            (manager.update, (nothing, "")),
            (manager.change_state, ("IN PROGRESS", OURS)),
            (manager.request_cancel, (nothing,)),
            (watching.subscribe, ("TESTER",)),
            (watching.unsubscribe, ("TESTER",)),
        ):
            assert status_of(sqlite_database, deed, "2.25.404", *arguments) == Status.UNKNOWN


class TestCreate:
    @pytest.mark.parametrize(
        ("given", "answer"),
        [
            ({"ProcedureStepState": "IN PROGRESS"}, Status.NOT_SCHEDULED),
            ({"ProcedureStepLabel": ""}, Status.MISSING),
            ({"ScheduledProcedureStepPriority": "STAT"}, Status.BAD_VALUE),
            ({"TransactionUID": "2.25.3"}, Status.BAD_VALUE),
            ({"WorklistLabel": ""}, Status.CREATED_MODIFIED),
            ({}, Status.DONE),
        ],
    )
    def test_it_is_judged_by_what_it_holds(
        self, sqlite_database: Database, given: dict[str, str], answer: Status
    ) -> None:
        found = status_of(sqlite_database, manager.create, uid(), new_item(**given))
        assert found == answer

    def test_the_same_uid_twice_is_a_duplicate(self, database: Database) -> None:
        item = at(database, State.SCHEDULED)
        assert status_of(database, manager.create, item, new_item()) == Status.DUPLICATE

    def test_it_is_given_back_whole_without_its_lock(self, database: Database) -> None:
        item = at(database, State.IN_PROGRESS)
        with database.begin() as session:
            found = manager.get(session, EVERYBODY, item)
        assert str(found.PatientName) == "Doe^Jörg"
        assert found.InputInformationSequence[0].StudyInstanceUID == "1.2.3"
        assert found.ProcedureStepState == "IN PROGRESS"
        assert "TransactionUID" not in found
        assert OURS not in found.to_json()


class TestUpdate:
    @pytest.mark.parametrize(
        ("state", "transaction", "answer"),
        [
            (S.SCHEDULED, "", Status.DONE),
            (S.SCHEDULED, OURS, Status.NOT_CLAIMED),
            (S.IN_PROGRESS, OURS, Status.DONE),
            (S.IN_PROGRESS, "", Status.WRONG_TRANSACTION),
            (S.IN_PROGRESS, THEIRS, Status.WRONG_TRANSACTION),
            (S.COMPLETED, OURS, Status.FINAL),
            (S.CANCELED, OURS, Status.FINAL),
        ],
    )
    def test_only_the_lock_opens_a_claimed_item(
        self, sqlite_database: Database, state: State, transaction: str, answer: Status
    ) -> None:
        item = at(sqlite_database, state)
        found = status_of(sqlite_database, manager.update, item, progress(), transaction)
        assert found == answer

    def test_the_state_is_not_an_attribute_to_set(self, sqlite_database: Database) -> None:
        item = at(sqlite_database, State.IN_PROGRESS)
        for state, answer in (("SCHEDULED", Status.NOT_BY_CHANGE), ("CANCELED", Status.BAD_VALUE)):
            given = of_state(state)
            assert status_of(sqlite_database, manager.update, item, given, OURS) == answer


class TestCancel:
    def test_what_nobody_began_is_canceled_with_a_reason(self, database: Database) -> None:
        item = at(database, State.SCHEDULED)
        assert status_of(database, manager.request_cancel, item, Dataset()) == Status.DONE
        with database.begin() as session:
            found = manager.get(session, EVERYBODY, item)
        told = found.ProcedureStepProgressInformationSequence[0]
        assert found.ProcedureStepState == "CANCELED"
        assert told.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110513"
        assert told.ProcedureStepCancellationDateTime

    def test_a_claimed_item_is_only_asked_for(self, database: Database) -> None:
        item = at(database, State.IN_PROGRESS)
        unheard = status_of(database, manager.request_cancel, item, Dataset())
        assert unheard == Status.UNREACHABLE
        status_of(database, watching.subscribe, item, "PERFORMER")
        assert status_of(database, manager.request_cancel, item, Dataset()) == Status.DONE
        with database.reading() as session:
            events = [one.event_type for one in notices.waiting(session, ["PERFORMER"])]
        assert events == [Event.STATE, Event.CANCEL_REQUESTED]
        assert state_in(database, item) == State.IN_PROGRESS

    def test_what_has_ended_is_not_canceled(self, sqlite_database: Database) -> None:
        for state, answer in (
            (State.COMPLETED, Status.COMPLETED),
            (State.CANCELED, Status.ALREADY_CANCELED),
        ):
            item = at(sqlite_database, state)
            found = status_of(sqlite_database, manager.request_cancel, item, Dataset())
            assert found == answer


class TestWatching:
    def test_a_global_subscription_covers_new_items_until_it_is_suspended(
        self, database: Database
    ) -> None:
        old = at(database, State.SCHEDULED)
        assert status_of(database, watching.subscribe, GLOBAL, "WATCHER") == Status.DONE
        new = at(database, State.IN_PROGRESS)
        assert status_of(database, watching.suspend, GLOBAL, "WATCHER") == Status.DONE
        later = at(database, State.SCHEDULED)
        status_of(database, manager.request_cancel, old, Dataset())
        with database.reading() as session:
            told = [(one.sop_instance_uid, one.event_type) for one in session.scalars(
                select(NoticeRow).order_by(NoticeRow.id)
            )]  # fmt: skip
        assert told == [(new, 1), (new, 1), (old, 1), (old, 1)]
        assert later not in {item for item, _ in told}

    def test_a_filtered_one_covers_what_matches(self, sqlite_database: Database) -> None:
        keys = Dataset()
        keys.WorklistLabel = "OTHER*"
        with sqlite_database.begin() as session:
            watching.subscribe(session, EVERYBODY, FILTERED, "WATCHER", keys=keys)
            manager.create(session, EVERYBODY, uid(), new_item())
            wanted = uid()
            manager.create(session, EVERYBODY, wanted, new_item(WorklistLabel="OTHER THINGS"))
            assert notices.watchers(session, wanted) == ["WATCHER"]
            told = notices.waiting(session, ["WATCHER"])
        assert [one.sop_instance_uid for one in told] == [wanted]

    def test_a_suspension_of_one_item_makes_no_sense(self, sqlite_database: Database) -> None:
        item = at(sqlite_database, State.SCHEDULED)
        found = status_of(sqlite_database, watching.suspend, item, "WATCHER")
        assert found == Status.WRONG_INSTANCE

    def test_who_unsubscribes_hears_no_more(self, sqlite_database: Database) -> None:
        item = at(sqlite_database, State.SCHEDULED)
        status_of(sqlite_database, watching.subscribe, item, "WATCHER")
        status_of(sqlite_database, watching.unsubscribe, item, "WATCHER")
        status_of(sqlite_database, manager.change_state, item, "IN PROGRESS", OURS)
        with sqlite_database.reading() as session:
            assert len(notices.waiting(session, ["WATCHER"])) == 1


class TestSearch:
    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({"ProcedureStepState": "SCHEDULED"}, 1),
            ({"ProcedureStepState": "COMPLETED"}, 0),
            ({"PatientID": "P*"}, 1),
            ({"PatientID": "p1"}, 0),
            ({"PatientName": "DOE^J*"}, 1),
            ({"ScheduledProcedureStepStartDateTime": "20251231-20260101"}, 1),
            ({"ScheduledProcedureStepStartDateTime": "-20251231"}, 0),
            ({"ScheduledProcedureStepStartDateTime": "20260102-"}, 0),
            ({"ScheduledWorkitemCodeSequence.CodeValue": "110004"}, 1),
            ({"ScheduledWorkitemCodeSequence.CodeValue": "110003"}, 0),
            ({"00404018.00080100": "110004"}, 1),
            ({"InputInformationSequence.ReferencedSOPSequence.ReferencedSOPInstanceUID": "1.9"}, 0),
            ({"StudyInstanceUID": "1.2.3,1.2.4"}, 1),
            ({"ProcedureStepLabel": "[L]ook*"}, 0),
            ({"WorklistLabel": ""}, 1),
        ],
    )
    def test_it_matches_as_c_find_does(
        self, sqlite_database: Database, query: dict[str, str], found: int
    ) -> None:
        at(sqlite_database, State.SCHEDULED)
        keys = keys_from_query(query.items())
        with sqlite_database.begin() as session:
            items, more = manager.search(session, EVERYBODY, keys, limit=9)
        assert (len(items), more) == (found, False)

    def test_it_pages_in_a_stable_order(self, database: Database) -> None:
        made = [at(database, State.SCHEDULED) for _ in range(5)]
        seen = []
        with database.begin() as session:
            for offset in (0, 2, 4):
                items, more = manager.search(session, EVERYBODY, Dataset(), limit=2, offset=offset)
                seen += [(one.SOPInstanceUID, more) for one in items]
        assert [one for one, _ in seen] == made
        assert [more for _, more in seen] == [True] * 4 + [False]

    def test_an_answer_holds_what_was_asked_for(self) -> None:
        item, keys = new_item(), Dataset()
        item.SOPInstanceUID = "2.25.8"
        keys.PatientID, keys.AdmissionID, keys.TransactionUID = "", "", ""
        found = project(item, keys)
        assert {one.keyword for one in found} == {"PatientID", "AdmissionID", "SOPInstanceUID"}


def is_allowed(database: Database, deed: Callable[[Session], Status]) -> bool:
    with database.begin() as session:
        try:
            return deed(session) == Status.DONE
        except NotDone as why:
            return why.status != Status.NOT_ALLOWED


class TestRoles:
    @pytest.mark.parametrize("role", ["requester", "performer", "watcher"])
    def test_each_does_its_own(self, sqlite_database: Database, role: str) -> None:
        asker = Asker(role, frozenset({role}))
        item = at(sqlite_database, State.SCHEDULED)
        deeds: dict[str, Callable[[Session], Status]] = {
            "requester": lambda session: manager.create(session, asker, uid(), new_item()),
            "performer": lambda session: manager.change_state(
                session, asker, item, "IN PROGRESS", OURS
            ),
            "watcher": lambda session: watching.subscribe(session, asker, item, "WATCHER"),
        }
        allowed = {needed for needed, deed in deeds.items() if is_allowed(sqlite_database, deed)}
        assert allowed == ({role, "watcher"} if role == "performer" else {role})

    def test_every_deed_and_refusal_is_audited(self, database: Database) -> None:
        item = at(database, State.COMPLETED)
        status_of(database, manager.change_state, item, "CANCELED", THEIRS)
        with database.reading() as session:
            rows = session.scalars(select(AuditRow).where(AuditRow.object_id == item))
            kinds = [(one.event_type, one.actor, one.outcome) for one in rows]
        assert kinds == [
            ("workitem.created", "tester", 0),
            ("workitem.in-progress", "tester", 0),
            ("workitem.updated", "tester", 0),
            ("workitem.completed", "tester", 0),
            ("workitem.refused", "tester", 4),
        ]
