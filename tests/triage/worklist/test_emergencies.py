"""Break-glass: a reason, a while, a security alert, and somebody who looks at it afterwards."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import select

from db.accounts import BreakGlassRow
from db.engine import Database
from db.tables import UserRow
from tests.triage.worklist.builders import add_study
from tests.triage.worklist.client import NAME, PASSWORD, Client
from tests.triage.worklist.conftest import audited
from tests.triage.worklist.test_access import become
from triage.trail.codes import event_type
from triage.worklist import auth

REASON = {"code": "nobody-there", "reason": "The reader on call does not answer."}


@pytest.fixture
def study(rows: Database, client: Client) -> int:
    """A study, and an auditor before it."""
    with rows.begin() as session:
        number = add_study(session).id
    become(rows, client, "auditor")
    return number


def csrf(client: Client) -> str:
    return client.hidden("/account", "csrf_token")


def open_it(client: Client, study: int, **form: str) -> int:
    given = {"csrf_token": csrf(client)} | (form or REASON)
    return client.post(f"/studies/{study}/emergency", given).status_code


def test_a_refusal_leads_to_the_form_which_tells_nothing_of_the_study(
    client: Client, study: int
) -> None:
    refused = client.get(f"/studies/{study}")
    assert refused.status_code == 403
    assert f'href="/studies/{study}/emergency"' in refused.text
    form = client.get(f"/studies/{study}/emergency")
    assert form.status_code == 200
    assert "DOE" not in refused.text + form.text


def test_a_reason_opens_the_study_and_its_images_and_is_a_security_alert(
    client: Client, rows: Database, study: int
) -> None:
    assert open_it(client, study) == 303
    page = client.get(f"/studies/{study}")
    assert page.status_code == 200
    assert "You opened this study in an emergency" in page.text
    assert f'src="/studies/{study}/preview.png"' in page.text
    assert "no-preview" not in client.get(f"/studies/{study}/preview.png").text[:20]
    (entry,) = audited(rows, "break-glass.opened")
    assert (entry.event_id, entry.actor, entry.object_type) == ("110113", NAME, "study")
    assert event_type(entry.event_type) == ("110127", "Emergency Override Started")
    detail = json.loads(entry.detail)
    assert detail["reason"] == "nobody-there"
    assert "does not answer" not in entry.detail
    seen = [*audited(rows, "study.seen"), *audited(rows, "preview.seen")]
    assert [json.loads(one.detail)["emergency"] for one in seen] == [detail["emergency"]] * 2


def test_it_opens_nothing_else(client: Client, rows: Database, study: int) -> None:
    with rows.begin() as session:
        other = add_study(session).id
    open_it(client, study)
    for method, path in (
        ("GET", f"/studies/{other}"),
        ("GET", f"/studies/{other}/preview.png"),
        ("GET", "/studies"),
        ("POST", f"/studies/{study}/feedback"),
        ("POST", f"/studies/{study}/withdraw"),
    ):
        headers = {"X-CSRF-Token": csrf(client)} if method == "POST" else {}
        form = {"verdict": "missed", "reason": "wrong-patient"} if method == "POST" else None
        assert client.ask(method, path, data=form, headers=headers).status_code == 403


def test_it_ends_by_itself(client: Client, rows: Database, study: int) -> None:
    open_it(client, study)
    with rows.begin() as session:
        row = session.scalars(select(BreakGlassRow)).one()
        assert row.until - row.opened_at == timedelta(hours=1)
        row.until = row.opened_at
    assert client.get(f"/studies/{study}").status_code == 403
    assert client.get(f"/studies/{study}/preview.png").status_code == 403


def test_it_opens_to_nobody_else(client: Client, rows: Database, study: int) -> None:
    open_it(client, study)
    with rows.begin() as session:
        auth.create_user(session, "second", PASSWORD, "auditor")
    client.cookies.clear()
    client.sign_in("second", PASSWORD)
    assert client.get(f"/studies/{study}").status_code == 403


@pytest.mark.parametrize(
    "form",
    [
        {"code": "nobody-there", "reason": ""},
        {"code": "nobody-there", "reason": "because  "},
        {"code": "curiosity", "reason": REASON["reason"]},
        {"reason": REASON["reason"]},
    ],
)
def test_without_a_reason_it_stays_closed(
    client: Client, rows: Database, study: int, form: dict[str, str]
) -> None:
    assert open_it(client, study, **form) == 400
    assert client.get(f"/studies/{study}").status_code == 403
    assert audited(rows, "break-glass.opened") == []


def test_what_is_not_there_is_404(client: Client, rows: Database, study: int) -> None:
    assert open_it(client, study + 1) == 404
    assert audited(rows, "break-glass.opened") == []


def test_an_admin_sees_the_study_and_opens_its_images(
    client: Client, rows: Database, study: int
) -> None:
    become(rows, client, "admin")
    page = client.get(f"/studies/{study}").text
    assert f'href="/studies/{study}/emergency"' in page
    assert "preview.png" not in page
    assert open_it(client, study) == 303
    assert "preview.png" in client.get(f"/studies/{study}").text


def test_those_who_watch_are_shown_it_until_another_has_looked(
    client: Client, rows: Database, study: int
) -> None:
    open_it(client, study)
    assert "opened in an emergency" not in client.get("/account").text, "who may not look at it"
    form = {"csrf_token": csrf(client), "sure": "yes"}
    assert client.post("/emergencies/1/reviewed", form).status_code == 400
    become(rows, client, "radiologist")
    assert "opened in an emergency" not in client.get("/account").text
    assert client.get("/emergencies").status_code == 403
    with rows.begin() as session:
        auth.create_user(session, "boss", PASSWORD, "admin")
    client.cookies.clear()
    client.sign_in("boss", PASSWORD)
    assert "1 study opened in an emergency: look at it" in client.get("/account").text
    page = client.get("/emergencies").text
    assert REASON["reason"] in page
    assert "DOE" not in page
    form = {"csrf_token": csrf(client)}
    question = client.post("/emergencies/1/reviewed", form)
    assert question.status_code == 200
    assert REASON["reason"] in question.text
    assert audited(rows, "break-glass.reviewed") == []
    form["sure"] = "yes"
    assert client.post("/emergencies/1/reviewed", form).status_code == 303
    assert client.post("/emergencies/1/reviewed", form).status_code == 404
    assert "opened in an emergency" not in client.get("/account").text
    (entry,) = audited(rows, "break-glass.reviewed")
    assert entry.actor == "boss"
    with rows.reading() as session:
        assert session.scalars(select(UserRow.name).where(UserRow.name == "boss")).one()
