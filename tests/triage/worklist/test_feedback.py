"""The reader's words: one key each, undone at will, never an edit, and never a change of order."""

import re
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from db.engine import Database
from db.feedback import FeedbackRow, latest
from db.tables import DecisionRow, DetectionRow, StudyRow, UserRow
from tests.triage.outputs import studies
from tests.triage.worklist.builders import add_report, add_result, add_study, detection
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import ROLES, audited
from triage.outputs import structured_report
from triage.outputs.assessed import tracked
from triage.worklist import said
from triage.worklist.sessions import Viewer
from triage.worklist.words import iso

NO_TIME = timedelta(0)
PRESSED = re.compile(r'value="(\w+)"[^>]*aria-pressed="true"')


@pytest.fixture
def study(rows: Database) -> int:
    """A prioritised study with one finding."""
    with rows.begin() as session:
        one = add_study(session, "prioritised", priority=2)
        add_result(session, one)
        return one.id


def words(database: Database) -> list[FeedbackRow]:
    with database.reading() as session:
        return list(session.scalars(select(FeedbackRow).order_by(FeedbackRow.id)))


def finding(client: Client, study: int) -> str:
    found = re.search(r'name="finding" value="(\d+)"', client.get(f"/studies/{study}").text)
    assert found
    return found[1]


def press(client: Client, study: int, verdict: str, **given: str) -> int:
    form = {"csrf_token": client.csrf(), "verdict": verdict, **given}
    return client.post(f"/studies/{study}/feedback", form).status_code


def undo(client: Client, study: int) -> int:
    return client.post(f"/studies/{study}/feedback/undo", {"csrf_token": client.csrf()}).status_code


def pressed(client: Client, study: int) -> list[str]:
    return PRESSED.findall(client.get(f"/studies/{study}").text)


def test_a_word_is_kept_with_all_that_it_is_about(
    client: Client, rows: Database, study: int
) -> None:
    one = finding(client, study)
    assert press(client, study, "disagree", finding=one, reason="artifact") == 303
    [row] = words(rows)
    assert (row.verdict, row.reason_code, row.detection_id) == ("disagree", "artifact", int(one))
    assert (row.reader, row.reader_role, row.outcome) == ("dr.reader", ROLES, "prioritised")
    assert (row.state, row.mode, row.number) == ("delivered", "triage", 1)
    assert pressed(client, study) == ["disagree"]
    [entry] = audited(rows, "feedback.given")
    assert (entry.actor, '"disagree"' in entry.detail) == ("dr.reader", True)


def test_another_word_is_another_row(client: Client, rows: Database, study: int) -> None:
    one = finding(client, study)
    for verdict in ("agree", "agree", "unsure"):
        press(client, study, verdict, finding=one)
    assert [(row.verdict, row.number) for row in words(rows)] == [("agree", 1), ("unsure", 2)]
    assert pressed(client, study) == ["unsure"]


def test_undo_takes_back_the_last_word_and_then_the_one_on_another_subject(
    client: Client, rows: Database, study: int
) -> None:
    one = finding(client, study)
    press(client, study, "agree", finding=one)
    press(client, study, "missed", reason="subtle")
    assert pressed(client, study) == ["agree", "missed"]
    undo(client, study)
    assert pressed(client, study) == ["agree"]
    undo(client, study)
    assert pressed(client, study) == []
    assert undo(client, study) == 303
    assert [row.verdict for row in words(rows)] == ["agree", "missed", "withdrawn", "withdrawn"]
    assert [row.verdict for row in latest(words(rows))] == ["withdrawn", "withdrawn"]
    assert len(audited(rows, "feedback.withdrawn")) == 2
    press(client, study, "agree", finding=one)
    assert pressed(client, study) == ["agree"]


def test_undo_with_a_finding_takes_back_the_word_on_that_one_alone(
    client: Client, rows: Database, study: int
) -> None:
    one, place = finding(client, study), f"/studies/{study}/feedback/undo"
    press(client, study, "agree", finding=one)
    press(client, study, "missed")
    form = {"csrf_token": client.csrf(), "finding": one}
    assert client.post(place, form).status_code == 303
    assert pressed(client, study) == ["missed"]
    assert words(rows)[-1].detection_id == int(one)
    assert client.post(place, form).status_code == 303, "again: nothing is left, and it stays so"
    assert by_script(client, place, finding=one) == 400
    assert [row.verdict for row in words(rows)] == ["agree", "missed", "withdrawn"]
    assert undo(client, study) == 303
    assert pressed(client, study) == []


@pytest.mark.parametrize("finding", ["404", "one", "9" * 32, "9" * 33])
def test_undo_refuses_what_is_no_finding_of_the_study(
    client: Client, rows: Database, study: int, finding: str
) -> None:
    press(client, study, "missed")
    form = {"csrf_token": client.csrf(), "finding": finding}
    assert client.post(f"/studies/{study}/feedback/undo", form).status_code in {400, 422}
    assert [row.verdict for row in words(rows)] == ["missed"]


@pytest.mark.parametrize(
    "given",
    [
        {"verdict": "normal", "finding": "1"},
        {"verdict": "missed", "finding": "1"},
        {"verdict": "agree"},
        {"verdict": "withdrawn", "finding": "1"},
        {"verdict": "agree", "finding": "404"},
        {"verdict": "agree", "finding": "one"},
        {"verdict": "agree", "finding": "1", "reason": "because"},
        {"verdict": "agree", "finding": "9" * 40},
    ],
)
def test_what_fits_no_finding_is_refused(
    client: Client, rows: Database, study: int, given: dict[str, str]
) -> None:
    assert press(client, study, **given) in {400, 422}
    assert words(rows) == []


def by_script(client: Client, path: str, **form: str) -> int:
    answer = client.post(path, form, headers={"X-CSRF-Token": client.csrf()})
    return answer.status_code


def of_row(client: Client, study: int, seen: datetime | str) -> int:
    at = seen if isinstance(seen, str) else iso(seen)
    form = {"verdict": "agree", "finding": "decisive", "seen": at}
    return by_script(client, f"/studies/{study}/feedback", **form)


def test_a_list_means_the_decisive_finding_of_the_decision_it_showed(
    client: Client, rows: Database, study: int
) -> None:
    with rows.begin() as session:
        one = session.get_one(StudyRow, study)
        [strongest] = session.scalars(select(DetectionRow)).all()
        session.add(weaker := detection(one, p_value=0.9, series_instance_uid="2.25.9"))
        session.flush()
        decided = session.scalars(select(DecisionRow.at)).one()
    assert weaker.id != strongest.id
    for late in (decided - timedelta(seconds=1), "", "today", "2126-01-01T00:00:00"):
        assert of_row(client, study, late) == 400
    assert words(rows) == []
    assert of_row(client, study, decided + timedelta(seconds=1)) == 204
    assert [(row.verdict, row.detection_id) for row in words(rows)] == [("agree", strongest.id)]
    assert by_script(client, f"/studies/{study}/feedback/undo") == 204
    assert by_script(client, f"/studies/{study}/feedback/undo") == 400
    assert [row.verdict for row in words(rows)] == ["agree", "withdrawn"]


def test_a_list_says_nothing_of_a_study_without_a_finding(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        other = add_study(session, "pending")
    assert of_row(client, other.id, "2126-01-01T00:00:00Z") == 400
    assert words(rows) == []


def test_a_finding_of_another_study_is_refused(client: Client, rows: Database, study: int) -> None:
    with rows.begin() as session:
        other = add_study(session, "prioritised")
        foreign = add_result(session, other).id
    assert press(client, study, "agree", finding=str(foreign)) == 400
    assert press(client, 404_404, "missed") == 404


def test_without_a_session_or_its_token_nothing_is_written(
    anonymous: Client, client: Client, rows: Database, study: int
) -> None:
    form = {"verdict": "missed", "csrf_token": "wrong"}
    assert client.post(f"/studies/{study}/feedback", form).status_code == 403
    client.cookies.clear()
    assert client.post(f"/studies/{study}/feedback", form).status_code == 401
    assert words(rows) == []


def test_it_changes_neither_the_score_nor_the_order(
    client: Client, rows: Database, study: int
) -> None:
    with rows.begin() as session:
        for priority in (0, 1, 2):
            add_result(session, add_study(session, "prioritised", priority=priority, minutes=9))

    def seen() -> tuple[list[str], list[tuple[object, ...]]]:
        columns = [one for one in StudyRow.__table__.columns if one.key != "patient_name"]
        with rows.reading() as session:
            kept = [tuple(row) for row in session.execute(select(*columns).order_by(StudyRow.id))]
        order = re.findall(r'<tr id="study-(\d+)"', client.get("/studies").text)
        return order, kept

    one = finding(client, study)  # opens the study, which is on its row from then on
    before = seen()
    for verdict in ("agree", "disagree", "unsure"):
        press(client, study, verdict, finding=one)
        assert seen() == before
    press(client, study, "missed")
    undo(client, study)
    assert seen() == before


def test_the_page_has_a_key_for_each_word_on_the_decisive_finding_alone(
    client: Client, rows: Database, study: int
) -> None:
    with rows.begin() as session:
        one = session.get_one(StudyRow, study)
        session.add(detection(one, detector="other", p_value=0.5, series_instance_uid="2.25.9"))
    page = client.get(f"/studies/{study}").text
    assert sorted(re.findall(r'data-key="(\w)"', page)) == ["a", "d", "u", "x"]
    assert page.count('name="finding"') == 2
    assert "<script>" not in page


def test_readers_do_not_see_each_other(client: Client, rows: Database, study: int) -> None:
    with rows.begin() as session:
        other = UserRow(
            name="second", password_hash="x", role="reader",
            created_at=session.get_one(StudyRow, study).received_at,
        )  # fmt: skip
        session.add(other)
        session.flush()
        who = Viewer(other.id, other.name, other.role, "", "", NO_TIME)
        one = session.get_one(StudyRow, study)
        said.say(session, one, who, ("missed", "", ""), mode="triage")
    assert pressed(client, study) == []
    assert press(client, study, "missed") == 303
    assert [row.number for row in words(rows)] == [1, 1]


def test_a_word_carries_the_report_s_tracking_uid(client: Client, rows: Database) -> None:
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    report = structured_report.build(assessment, studies.context())
    [meant] = assessment.detections
    with rows.begin() as session:
        study = add_study(session, "prioritised")
        said_of = detection(
            study, detector=meant.detector.name, series_instance_uid=meant.series_instance_uid
        )
        session.add(said_of)
        session.add(add_report(
            study, study.received_at, content=report.content,
            sop_instance_uid=report.sop_instance_uid,
        ))  # fmt: skip
        session.flush()
        number, one = study.id, str(said_of.id)
    press(client, number, "agree", finding=one)
    [row] = words(rows)
    assert row.tracking_uid == tracked(report)[0].tracking_uid
    assert row.report_sop_instance_uid == report.sop_instance_uid
    undo(client, number)
    assert words(rows)[1].tracking_uid == row.tracking_uid


def test_a_new_generation_is_judged_anew(client: Client, rows: Database, study: int) -> None:
    press(client, study, "missed")
    with rows.begin() as session:
        session.get_one(StudyRow, study).generation = 2
    assert pressed(client, study) == []
    undo(client, study)
    assert len(words(rows)) == 1


def test_the_database_itself_refuses_an_edit(database: Database) -> None:
    with database.begin() as session:
        study = add_study(session, "prioritised")
        user = UserRow(name="r", password_hash="x", role="reader", created_at=study.received_at)
        session.add(user)
        session.flush()
        who = Viewer(user.id, user.name, user.role, "", "", NO_TIME)
        said.say(session, study, who, ("missed", "", ""), mode="triage")
    for statement in ("UPDATE feedback SET verdict = 'agree'", "DELETE FROM feedback"):
        with pytest.raises(DBAPIError, match="append-only"), database.begin() as session:
            session.execute(text(statement))
    assert [row.verdict for row in words(database)] == ["missed"]
