"""The manager says when it comes and goes, and forgets what is done and unlocked."""

import json
import time
from datetime import timedelta

from sqlalchemy import select, update

from db.engine import Database, now
from db.tables import AuditRow
from db.ups import NoticeRow, SubscriptionRow, WorkitemRow
from tests.triage.ups.items import EVERYBODY, new_item, performed, uid
from triage.ups import manager, notices, upkeep, watching
from triage.ups.content import keys_from_query, whole_texts
from triage.ups.words import GLOBAL, Event, State

MONTH = timedelta(days=30)


def finished(database: Database, *, days_ago: int) -> str:
    item = uid()
    with database.begin() as session:
        manager.create(session, EVERYBODY, item, new_item())
        manager.change_state(session, EVERYBODY, item, "IN PROGRESS", "2.25.1")
        manager.update(session, EVERYBODY, item, performed(), "2.25.1")
        manager.change_state(session, EVERYBODY, item, "COMPLETED", "2.25.1")
        session.execute(
            update(WorkitemRow)
            .where(WorkitemRow.sop_instance_uid == item)
            .values(updated_at=now(session) - timedelta(days=days_ago))
        )
    return item


def known(database: Database) -> set[str]:
    with database.reading() as session:
        return set(session.scalars(select(WorkitemRow.sop_instance_uid)))


class TestForgetting:
    def test_what_was_finished_long_ago_goes_and_the_rest_stays(self, database: Database) -> None:
        old, young = finished(database, days_ago=31), finished(database, days_ago=29)
        waiting = uid()
        with database.begin() as session:
            manager.create(session, EVERYBODY, waiting, new_item())
            session.execute(
                update(WorkitemRow)
                .where(WorkitemRow.state == State.SCHEDULED)
                .values(updated_at=now(session) - timedelta(days=400))
            )
        with database.begin() as session:
            assert upkeep.forget_finished(session, MONTH) == 1
        assert known(database) == {young, waiting}
        with database.reading() as session:
            gone = session.scalars(
                select(AuditRow.object_id).where(AuditRow.event_type == "workitem.deleted")
            ).all()
        assert gone == [old]

    def test_a_deletion_lock_keeps_an_item_until_its_owner_lets_go(
        self, database: Database
    ) -> None:
        item = finished(database, days_ago=31)
        with database.begin() as session:
            watching.subscribe(session, EVERYBODY, item, "WATCHER", lock=True)
            watching.subscribe(session, EVERYBODY, item, "OTHER", lock=False)
        with database.begin() as session:
            assert upkeep.forget_finished(session, MONTH) == 0
        with database.begin() as session:
            watching.unsubscribe(session, EVERYBODY, item, "WATCHER")
        with database.begin() as session:
            assert upkeep.forget_finished(session, MONTH) == 1
        with database.reading() as session:
            assert session.scalars(select(SubscriptionRow.id)).all() == []


def test_everybody_who_watches_is_told_once_that_the_manager_comes(database: Database) -> None:
    first, second = uid(), uid()
    with database.begin() as session:
        for item in (first, second):
            manager.create(session, EVERYBODY, item, new_item())
        watching.subscribe(session, EVERYBODY, first, "WATCHER")
        watching.subscribe(session, EVERYBODY, second, "WATCHER")
        watching.subscribe(session, EVERYBODY, GLOBAL, "ALL")
    with database.begin() as session:
        upkeep.announce(session, "RESTARTED")
        upkeep.announce(session, "GOING DOWN")
    with database.reading() as session:
        rows = session.scalars(
            select(NoticeRow).where(NoticeRow.event_type == Event.SCP_STATUS).order_by(NoticeRow.id)
        ).all()
        told = [(one.ae_title, one.sop_instance_uid, json.loads(one.content)) for one in rows]
    assert [one[0] for one in told] == ["ALL", "WATCHER", "ALL", "WATCHER"]
    assert {one[1] for one in told} == {GLOBAL}
    assert told[0][2]["00741242"]["Value"] == ["RESTARTED"]
    assert told[0][2]["00741244"]["Value"] == told[0][2]["00741246"]["Value"] == ["WARM START"]
    assert told[2][2]["00741242"]["Value"] == ["GOING DOWN"]
    assert len(told[2][2]) == 1
    with database.reading() as session:
        assert len(notices.waiting(session, ["ALL"])) >= 2


class TestSearchingAmongMany:
    MANY = 1_000

    def test_the_usual_keys_are_answered_without_reading_every_item(
        self, database: Database
    ) -> None:
        wanted = uid()
        with database.begin() as session:
            for number in range(3):
                manager.create(session, EVERYBODY, uid(), new_item(PatientID=f"X{number}"))
            manager.create(
                session,
                EVERYBODY,
                wanted,
                new_item(
                    PatientID="Straße 7", ProcedureStepLabel='Say "Ah"', StudyInstanceUID="1.2.9"
                ),
            )
            text = session.scalars(
                select(WorkitemRow.content).where(WorkitemRow.sop_instance_uid != wanted)
            ).first()
            session.add_all(
                WorkitemRow(
                    sop_instance_uid=uid(), state="SCHEDULED", content=text,
                    created_at=now(session), updated_at=now(session),
                )
                for _ in range(self.MANY)
            )  # fmt: skip
        whole = self.took(database, {"WorklistLabel": "AI"}, limit=1_100)[1]
        for query in (
            {"PatientID": "Straße 7"},
            {"ProcedureStepLabel": 'Say "Ah"'},
            {"StudyInstanceUID": "1.2.9", "ProcedureStepState": "SCHEDULED"},
            {"InputInformationSequence.StudyInstanceUID": "1.2.9"},
        ):
            found, seconds = self.took(database, query, limit=10)
            assert found == [wanted], query
            assert seconds < whole / 5, query

    def took(
        self, database: Database, query: dict[str, str], *, limit: int
    ) -> tuple[list[str], float]:
        begin = time.process_time()
        with database.begin() as session:
            keys = keys_from_query(query.items())
            found, _ = manager.search(session, EVERYBODY, keys, limit=limit)
        return [str(one.SOPInstanceUID) for one in found], time.process_time() - begin


def test_only_what_is_matched_whole_narrows_a_search() -> None:
    keys = keys_from_query(
        {
            "PatientName": "doe^jane", "PatientID": "P*", "WorklistLabel": "  A  ",
            "ScheduledProcedureStepStartDateTime": "20260101-20260201", "AdmissionID": "ü\"",
        }.items()
    )  # fmt: skip
    assert sorted(whole_texts(keys)) == sorted(["A", r"\u00fc\""])
