"""Dead letters on a page; sending again and taking back from it, by those who may."""

import pytest
from sqlalchemy import select

from db.delivery import WithdrawalRow
from db.engine import Database
from db.tables import OutboxRow, UserRow
from tests.triage.worklist.builders import add_result, add_study
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited


@pytest.fixture
def study(rows: Database) -> int:
    """A study whose report was refused."""
    with rows.begin() as session:
        row = add_study(session, "prioritised")
        add_result(session, row)
        session.flush()
        document = session.scalars(select(OutboxRow)).one()
        document.state, document.last_status = "refused", 0x0122
        document.last_error = "pacs refused the object (0x0122)"
        return row.id


def document(rows: Database) -> OutboxRow:
    with rows.reading() as session:
        return session.scalars(select(OutboxRow)).one()


def be(rows: Database, role: str) -> None:
    with rows.begin() as session:
        session.scalars(select(UserRow)).one().role = role


def test_a_dead_letter_is_shown_in_words_with_what_to_do(client: Client, study: int) -> None:
    page = client.get("/deliveries").text
    assert "0x0122" in page
    assert "SOP class not supported" in page
    assert "Let the PACS accept this SOP class" in page
    assert f'href="/studies/{study}"' in page


def test_nothing_stuck_is_said(client: Client) -> None:
    assert "Nothing is stuck." in client.get("/deliveries").text


def test_looking_is_audited(client: Client, rows: Database, study: int) -> None:
    client.get("/deliveries")
    [row] = audited(rows, "deliveries.list")
    assert row.event_id == "110112"


def test_an_admin_sends_it_again(client: Client, rows: Database, study: int) -> None:
    number = document(rows).id
    form = {"csrf_token": client.csrf(), "study": str(study)}
    question = client.post(f"/deliveries/{number}/resend", form)
    assert question.status_code == 200
    asked = f"Send document {number}, structured report of study {study}, to pacs again?"
    assert asked in question.text
    assert document(rows).state == "refused"
    answer = client.post(f"/deliveries/{number}/resend", form | {"sure": "yes"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/studies/{study}")
    row = document(rows)
    assert (row.state, row.due_at is not None) == ("queued", True)
    [entry] = audited(rows, "report.resend")
    assert (entry.actor, entry.network_address) == ("dr.reader", "10.0.0.7")


@pytest.mark.parametrize("role", ["admin", "radiologist"])
def test_a_report_is_withdrawn_with_a_reason(
    client: Client, rows: Database, study: int, role: str
) -> None:
    be(rows, role)
    assert "Withdraw the report" in client.get(f"/studies/{study}").text
    form = {"csrf_token": client.csrf(), "reason": "wrong-patient"}
    question = client.post(f"/studies/{study}/withdraw", form)
    assert question.status_code == 200
    assert f"Withdraw the report of study {study}?" in question.text
    assert "The report is about another patient." in question.text
    assert document(rows).state == "refused"
    form["sure"] = "yes"
    assert client.post(f"/studies/{study}/withdraw", form).status_code == 303
    assert document(rows).state == "withdrawn"
    [entry] = audited(rows, "report.withdrawn")
    assert (entry.actor, entry.actor_role) == ("dr.reader", role)
    page = client.get(f"/studies/{study}").text
    assert "The report is about another patient, says dr.reader" in page
    assert "Withdraw the report" not in page


@pytest.mark.parametrize("path", ["deliveries/1/resend", "studies/1/withdraw"])
def test_who_may_not_is_refused_and_audited(
    client: Client, rows: Database, study: int, path: str
) -> None:
    be(rows, "technologist")
    assert "Send again" not in client.get("/deliveries").text
    form = {"csrf_token": client.csrf(), "reason": "wrong-patient"}
    assert client.post(f"/{path}", form).status_code == 403
    assert document(rows).state == "refused"
    [entry] = audited(rows, "access.refused")
    assert entry.outcome == 8


@pytest.mark.parametrize("reason", ["", "mood", "superseded"])
def test_a_withdrawal_needs_a_reason_that_a_person_may_give(
    client: Client, rows: Database, study: int, reason: str
) -> None:
    form = {"csrf_token": client.csrf(), "reason": reason}
    assert client.post(f"/studies/{study}/withdraw", form).status_code in (400, 422)
    with rows.reading() as session:
        assert session.scalars(select(WithdrawalRow)).all() == []


def test_what_is_not_there_is_404(client: Client, rows: Database, study: int) -> None:
    form = {"csrf_token": client.csrf(), "reason": "wrong-patient", "sure": "yes"}
    assert client.post("/deliveries/99/resend", form).status_code == 404
    assert client.post("/studies/99/withdraw", form).status_code == 404
    client.post(f"/studies/{study}/withdraw", form)
    assert client.post(f"/studies/{study}/withdraw", form).status_code == 404
    assert client.post(f"/deliveries/{document(rows).id}/resend", form).status_code == 404


def test_sent_and_committed_are_told_apart(client: Client, rows: Database, study: int) -> None:
    with rows.begin() as session:
        row = session.scalars(select(OutboxRow)).one()
        row.state, row.sent_at, row.commitment = "sent", row.built_at, "asked"
    assert "asked" in client.get(f"/studies/{study}").text
    with rows.begin() as session:
        row = session.scalars(select(OutboxRow)).one()
        row.commitment, row.committed_at = "committed", row.built_at
    assert '"report is-sent">committed' in client.get("/studies").text
