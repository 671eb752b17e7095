"""The audit page: who may, what it answers, what it leaves on record, and nothing in an address."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from db.audit import SERIOUS, Entry, Event, record
from db.engine import Database, now
from db.tables import UserRow
from tests.triage.worklist.builders import add_study
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited
from triage.trail.saved import SAVED
from triage.worklist import sessions
from triage.worklist.access import Role
from triage.worklist.auditing import PAGE_SIZE
from triage.worklist.context import DISCLAIMER

CANARY = "CANARY-4711"


@dataclass(frozen=True)
class Trail:
    """Two patients, three studies, and what people did with them."""

    mine: int
    other: int


@pytest.fixture
def trail(rows: Database) -> Trail:
    with rows.begin() as session:
        first = add_study(session, patient_id=CANARY, accession_number="A1")
        second = add_study(session, patient_id=CANARY)
        other = add_study(session, patient_id="P2")
        uids = [one.study_instance_uid for one in (first, second, other)]
        for actor, uid, event, kind in (
            ("reader.ada", uids[0], Event.INSTANCES_ACCESSED, "study.seen"),
            ("reader.bob", uids[1], Event.INSTANCES_ACCESSED, "study.seen"),
            ("reader.eve", uids[2], Event.INSTANCES_ACCESSED, "study.seen"),
            ("worker", uids[0], Event.INSTANCES_TRANSFERRED, "report.sent"),
        ):
            record(
                session,
                Entry(event=event, kind=kind, actor=actor, object_type="study", object_id=uid),
            )
        record(session, Entry(event=Event.SECURITY_ALERT, kind="association.rejected", actor="=x"))
        return Trail(first.id, other.id)


@pytest.fixture
def auditor(app: FastAPI, rows: Database) -> Iterator[Client]:
    yield from signed_in(app, rows, Role.AUDITOR)


def signed_in(app: FastAPI, rows: Database, role: Role) -> Iterator[Client]:
    with rows.begin() as session:
        user = UserRow(name=f"a.{role}", password_hash="-", role=role, created_at=now(session))
        session.add(user)
        session.flush()
        token = sessions.open_session(session, user)
    with Client(app) as client:
        client.cookies.set("triage", token, domain="triage.test")
        yield client


def token(client: Client) -> str:
    return client.hidden("/audit", "csrf_token")


def exported(client: Client, query: str, form: str) -> str:
    answer = client.post(f"/audit/export{query}", {"csrf_token": token(client), "form": form})
    assert answer.status_code == 200
    assert "attachment" in answer.headers["content-disposition"]
    return answer.text


class TestWho:
    @pytest.mark.parametrize("role", [Role.RADIOLOGIST, Role.TECHNOLOGIST])
    def test_others_are_refused_and_that_is_on_record_as_serious(
        self, app: FastAPI, rows: Database, role: Role
    ) -> None:
        for client in signed_in(app, rows, role):
            assert client.get("/audit").status_code == 403
            assert "/audit" not in client.get("/studies").text
        (row,) = audited(rows, "access.refused")
        assert (row.event_id, row.outcome, row.actor) == ("110113", SERIOUS, f"a.{role}")

    def test_a_study_that_an_auditor_may_not_see_is_on_record_as_refused(
        self, auditor: Client, trail: Trail, rows: Database
    ) -> None:
        assert auditor.get(f"/studies/{trail.mine}").status_code == 403
        (row,) = audited(rows, "access.refused")
        assert (row.outcome, row.object_type) == (SERIOUS, "study")
        answer = auditor.get(f"/audit?ask=patient&of={trail.mine}").text
        assert "access.refused" in answer

    def test_an_auditor_starts_here(self, auditor: Client) -> None:
        assert auditor.get("/").headers["location"] == "/audit"


class TestQuestions:
    @pytest.mark.parametrize("slug", SAVED)
    def test_every_saved_question_has_a_page_and_leaves_its_mark(
        self, auditor: Client, trail: Trail, rows: Database, slug: str
    ) -> None:
        of = f"&of={trail.mine}" if SAVED[slug].about else ""
        answer = auditor.get(f"/audit?ask={slug}{of}")
        assert answer.status_code == 200
        (row,) = audited(rows, "audit.used")
        assert (row.event_id, row.actor, row.actor_role) == ("110101", "a.auditor", "auditor")
        assert json.loads(row.detail)["ask"] == slug

    def test_who_saw_a_patient_is_found_by_id_and_no_address_has_it(
        self, auditor: Client, trail: Trail, rows: Database
    ) -> None:
        form = {"csrf_token": token(auditor), "ask": "who-saw", "text": CANARY}
        answer = auditor.post("/audit/find", form)
        assert answer.status_code == 303
        assert CANARY not in answer.headers["location"]
        shown = auditor.get(answer.headers["location"]).text
        assert "reader.ada" in shown
        assert "reader.bob" in shown
        assert "reader.eve" not in shown
        assert "report.sent" not in shown
        assert CANARY not in shown
        assert CANARY not in "".join(row.detail for row in audited(rows, "audit.used"))

    @pytest.mark.parametrize("text", ["A1", "uid"])
    def test_a_study_is_found_by_accession_number_and_uid(
        self, auditor: Client, trail: Trail, rows: Database, text: str
    ) -> None:
        if text == "uid":
            (row,) = [one for one in audited(rows, "study.seen") if one.actor == "reader.ada"]
            text = row.object_id
        form = {"csrf_token": token(auditor), "ask": "study", "text": text}
        answer = auditor.post("/audit/find", form)
        assert answer.headers["location"] == f"/audit?ask=study&of={trail.mine}"
        shown = auditor.get(answer.headers["location"]).text
        assert "report.sent" in shown
        assert "reader.bob" not in shown

    def test_nobody_is_found_in_words(self, auditor: Client, trail: Trail) -> None:
        form = {"csrf_token": token(auditor), "ask": "who-saw", "text": "<b>nobody"}
        answer = auditor.post("/audit/find", form)
        assert answer.status_code == 404
        assert "No study here has" in answer.text
        assert "nobody" not in answer.text

    def test_filters_narrow_it_down(self, auditor: Client, trail: Trail) -> None:
        assert "reader.eve" in auditor.get("/audit?user=reader.eve").text
        assert "reader.ada" not in auditor.get("/audit?user=reader.eve").text
        assert "No row of the trail fits" in auditor.get("/audit?since=2999-01-01").text
        assert "No row of the trail fits" in auditor.get("/audit?until=2001-01-01").text
        assert "reader.eve" in auditor.get("/audit?since=2001-01-01&until=2999-01-01").text

    @pytest.mark.parametrize(
        "query", ["ask=nothing", "of=x", "before=-1", "since=yesterday", "of=9" + "9" * 20]
    )
    def test_an_address_that_is_none_of_ours_is_refused(self, auditor: Client, query: str) -> None:
        answer = auditor.get(f"/audit?{query}")
        assert answer.status_code == 400

    def test_a_study_that_is_not_there_is_not_found(self, auditor: Client) -> None:
        assert auditor.get("/audit?ask=study&of=999999").status_code == 404

    def test_pages_give_every_row_once(self, auditor: Client, rows: Database) -> None:
        with rows.begin() as session:
            for number in range(2 * PAGE_SIZE + 3):
                record(
                    session,
                    Entry(event=Event.EXPORT, kind="worklist.exported", actor=f"reader-{number}"),
                )
        address, seen = "/audit?ask=exports", []
        for _ in range(4):
            text = auditor.get(address).text
            seen += [word.split("<")[0] for word in text.split("<td>reader-")[1:]]
            if "Older" not in text:
                break
            address = text.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0]
            address = address.replace("&amp;", "&")
        assert seen == [str(number) for number in reversed(range(2 * PAGE_SIZE + 3))]


class TestExport:
    def test_csv_is_safe_in_a_spreadsheet_and_on_record(
        self, auditor: Client, trail: Trail, rows: Database
    ) -> None:
        found = list(csv.DictReader(io.StringIO(exported(auditor, "?ask=refused", "csv"))))
        assert [row["actor"] for row in found] == ["'=x"]
        assert {row[DISCLAIMER] for row in found} == {""}
        (row,) = audited(rows, "audit.exported")
        assert (row.event_id, json.loads(row.detail)["format"]) == ("110106", "csv")

    def test_json_has_a_row_a_line(self, auditor: Client, trail: Trail) -> None:
        query = f"?ask=who-saw&of={trail.mine}"
        found = [json.loads(line) for line in exported(auditor, query, "json").splitlines()]
        assert [row["actor"] for row in found] == ["reader.bob", "reader.ada"]
        assert {row["notice"] for row in found} == {DISCLAIMER}

    def test_a_file_without_a_row_says_what_it_is_not_for(
        self, auditor: Client, trail: Trail
    ) -> None:
        text = exported(auditor, "?ask=refused&user=nobody-of-this-name", "csv")
        [header] = csv.reader(io.StringIO(text))
        assert header[-1] == DISCLAIMER

    def test_whom_it_is_about_must_be_named(self, auditor: Client, trail: Trail) -> None:
        form = {"csrf_token": token(auditor), "form": "csv"}
        assert auditor.post("/audit/export?ask=who-saw", form).status_code == 400

    def test_without_the_token_nothing_leaves(
        self, auditor: Client, trail: Trail, rows: Database
    ) -> None:
        assert auditor.post("/audit/export?ask=logins", {"form": "csv"}).status_code == 403
        assert audited(rows, "audit.exported") == []


def test_no_row_is_shown_that_is_not_on_record_as_read(
    auditor: Client, rows: Database, trail: Trail
) -> None:
    """Where the note of the reading cannot be written, nothing is read."""
    with rows.begin() as session:
        session.connection().exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    answer = auditor.get("/audit")
    assert answer.status_code == 500
    assert "reader.ada" not in answer.text
    with rows.reading() as session:
        assert session.scalars(select(UserRow)).all()
