"""Readers' words go out once, after a pause, through the outbox; and again when they change."""

import time
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from sqlalchemy import select

from db.engine import Database
from db.feedback import FeedbackRow
from db.tables import OutboxRow, StudyRow, UserRow
from tests.triage.outputs import studies
from tests.triage.worklist.builders import add_report, add_study, detection
from triage import settings as noun
from triage.outputs import structured_report
from triage.settings import Settings
from triage.workflow import Feedback
from triage.worklist import said
from triage.worklist.sessions import Viewer
from workers import feedback, housekeeping

PAUSE_S = 0.001


@pytest.fixture(scope="module")
def report() -> tuple[bytes, str, str, str]:
    """The algorithm's report: bytes, UID, detector and series."""
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    document = structured_report.build(assessment, studies.context())
    [one] = assessment.detections
    return (
        document.content, document.sop_instance_uid, one.detector.name, one.series_instance_uid,
    )  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settled(noun.load(tmp_path), PAUSE_S)


def settled(settings: Settings, pause_s: float) -> Settings:
    of = Feedback(destinations=("pacs", "archive"), settle_s=pause_s)
    return settings.model_copy(update={"site": settings.site.model_copy(update={"feedback": of})})


@pytest.fixture
def study(database: Database, report: tuple[bytes, str, str, str]) -> int:
    content, uid, detector, series = report
    with database.begin() as session:
        one = add_study(session, "prioritised")
        session.add(detection(one, detector=detector, series_instance_uid=series))
        session.add(add_report(one, one.received_at, content=content, sop_instance_uid=uid))
        session.add(
            UserRow(
                id=7, name="dr.reader", password_hash="x", role="reader",
                created_at=one.received_at,
            )
        )  # fmt: skip
        return one.id


def speak(database: Database, study: int, verdict: str, *, finding: bool = True) -> None:
    """Say a word, and say no more until the pause is over by SQLite's clock of milliseconds."""
    who = Viewer(7, "dr.reader", "reader", "", "", timedelta(0))
    with database.begin() as session:
        one = session.get_one(StudyRow, study)
        if verdict == "undo":
            said.undo(session, one, who, mode="triage")
        else:
            said.say(session, one, who, (verdict, "", "1" if finding else ""), mode="triage")
    time.sleep(PAUSE_S + 0.001)


def queued(database: Database) -> list[OutboxRow]:
    with database.reading() as session:
        wanted = select(OutboxRow).where(OutboxRow.kind == "feedback_report")
        return list(session.scalars(wanted.order_by(OutboxRow.id)))


def test_a_word_becomes_one_report_for_each_destination(
    database: Database, settings: Settings, study: int, report: tuple[bytes, str, str, str]
) -> None:
    speak(database, study, "disagree")
    assert feedback.queue_settled(database, settings) == 1
    assert feedback.queue_settled(database, settings) == 0
    rows = queued(database)
    assert [(row.destination, row.state) for row in rows] == [
        ("pacs", "queued"), ("archive", "queued"),
    ]  # fmt: skip
    assert len({row.sop_instance_uid for row in rows}) == 1
    made = pydicom.dcmread(BytesIO(rows[0].content))
    referenced = made.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert referenced.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == report[1]
    assert all(row.due_at is not None for row in rows)


def test_it_waits_until_the_reader_has_settled(
    database: Database, settings: Settings, study: int
) -> None:
    speak(database, study, "agree")
    assert feedback.queue_settled(database, settled(settings, 60.0)) == 0
    assert queued(database) == []


def test_a_changed_mind_is_a_new_report_that_names_the_former(
    database: Database, settings: Settings, study: int
) -> None:
    for verdict in ("agree", "unsure", "undo"):
        speak(database, study, verdict)
        assert feedback.queue_settled(database, settings) == 1
    made = [pydicom.dcmread(BytesIO(row.content)) for row in queued(database)[::2]]
    former = [
        one.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        for one in made[1:]
    ]
    assert [one.ReferencedSOPInstanceUID for one in former] == [
        one.SOPInstanceUID for one in made[:2]
    ]
    assert "WITHDRAWN" in made[2].to_json()


def test_what_was_taken_back_in_time_is_told_to_nobody(
    database: Database, settings: Settings, study: int
) -> None:
    speak(database, study, "agree")
    speak(database, study, "undo")
    assert feedback.queue_settled(database, settings) == 0
    assert queued(database) == []


def test_a_missed_finding_is_said_of_the_study(
    database: Database, settings: Settings, study: int
) -> None:
    speak(database, study, "missed", finding=False)
    assert feedback.queue_settled(database, settings) == 1
    text = pydicom.dcmread(BytesIO(queued(database)[0].content)).to_json()
    assert "A finding was missed" in text


def test_without_a_report_of_ours_the_words_stay_rows(
    database: Database, settings: Settings, study: int
) -> None:
    with database.begin() as session:
        for row in session.scalars(select(OutboxRow)):
            session.delete(row)
    speak(database, study, "agree")
    assert feedback.queue_settled(database, settings) == 0
    with database.reading() as session:
        assert session.scalars(select(FeedbackRow.verdict)).all() == ["agree"]


def test_the_dispatcher_does_it_only_where_the_site_asks(
    sqlite_database: Database, settings: Settings, report: tuple[bytes, str, str, str]
) -> None:
    content, uid, detector, series = report
    with sqlite_database.begin() as session:
        one = add_study(session, "prioritised")
        session.add(detection(one, detector=detector, series_instance_uid=series))
        session.add(add_report(one, one.received_at, content=content, sop_instance_uid=uid))
        session.add(
            UserRow(
                id=7, name="dr.reader", password_hash="x", role="reader",
                created_at=one.received_at,
            )
        )  # fmt: skip
        number = one.id
    speak(sqlite_database, number, "agree")
    housekeeping.keep(sqlite_database, noun.load(settings.state))
    assert queued(sqlite_database) == []
    housekeeping.keep(sqlite_database, settings)
    assert len(queued(sqlite_database)) == 2
