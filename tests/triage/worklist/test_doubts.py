"""Doubts on the pages: seen by everybody, resolved by admins, and the banner of the nightly sum."""

import re
from html import unescape

import pytest
from sqlalchemy import select

from db import conflicts
from db.custody import ConflictRow, ReconciliationRow
from db.engine import Database, now
from db.tables import StudyRow, UserRow
from tests.triage.worklist.builders import add_study
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import ROLES, audited

FORM = {"choice": "release", "reason": "the entry was right", "sure": "yes"}


@pytest.fixture
def study(rows: Database) -> int:
    """A study that the modality has put in doubt."""
    with rows.begin() as session:
        row = add_study(session)
        conflicts.hold(session, row, "wrong-worklist-entry", "the modality said so", actor="mpps")
        return row.id


def post(client: Client, number: int, **form: str) -> int:
    answer = client.post(f"/conflicts/{number}/resolve", {"csrf_token": client.csrf(), **form})
    return int(answer.status_code)


def test_it_stands_on_the_list_of_doubts_and_on_the_studys_page(client: Client, study: int) -> None:
    assert f'href="/studies/{study}"' in client.get("/conflicts").text
    page = client.get(f"/studies/{study}").text
    assert "The modality says it took the wrong worklist entry" in page
    assert 'action="/conflicts/1/resolve"' in page


def test_an_admin_resolves_it_with_a_reason(client: Client, rows: Database, study: int) -> None:
    assert post(client, 1, **FORM) == 303
    with rows.reading() as session:
        assert session.get_one(StudyRow, study).state == "receiving"
        assert session.get_one(ConflictRow, 1).reason == "the entry was right"
    [row] = audited(rows, "conflict.resolved")
    assert row.actor_role == ROLES
    assert "the entry was right" in client.get(f"/studies/{study}").text


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"choice": "release", "reason": " ", "sure": "yes"}, 400),
        ({"choice": "keep-1", "reason": "x", "sure": "yes"}, 400),
        ({"choice": "release", "sure": "yes"}, 400),
        ({"choice": "release", "reason": " "}, 400),
        ({"choice": "keep-1", "reason": "x"}, 400),
        ({"choice": "release"}, 400),
    ],
)
def test_without_a_reason_or_with_no_such_choice_nothing_happens(
    client: Client, rows: Database, study: int, form: dict[str, str], status: int
) -> None:
    assert post(client, 1, **form) == status
    with rows.reading() as session:
        assert session.get_one(ConflictRow, 1).resolved_at is None


def test_it_is_asked_about_first_and_its_reason_is_kept(
    client: Client, rows: Database, study: int
) -> None:
    form = {"choice": "release", "reason": 'the "entry" was right', "csrf_token": client.csrf()}
    answer = client.post("/conflicts/1/resolve", form)
    assert answer.status_code == 200
    assert f"Resolve the doubt about study {study}?" in answer.text
    assert "The study is right as it is: analyse it" in answer.text
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', answer.text))
    assert unescape(hidden["reason"]) == form["reason"]
    assert audited(rows, "conflict.resolved") == []
    sent = {name: unescape(value) for name, value in hidden.items()}
    assert client.post("/conflicts/1/resolve", sent).status_code == 303
    with rows.reading() as session:
        assert session.get_one(ConflictRow, 1).reason == form["reason"]
    assert client.post("/conflicts/1/resolve", form).status_code == 404


def test_nobody_else_may_and_that_is_audited(client: Client, rows: Database, study: int) -> None:
    with rows.begin() as session:
        session.scalars(select(UserRow)).one().role = "radiologist"
    assert post(client, 1, **FORM) == 403
    assert len(audited(rows, "access.refused")) == 1
    assert 'action="/conflicts/1/resolve"' not in client.get(f"/studies/{study}").text


def test_without_the_token_it_is_refused(client: Client, study: int) -> None:
    assert client.post("/conflicts/1/resolve", FORM).status_code == 403


def test_a_sum_that_does_not_come_out_is_a_banner_until_it_does(
    client: Client, rows: Database, study: int
) -> None:
    for balanced in (False, True):
        with rows.begin() as session:
            row = ReconciliationRow(
                at=now(session), received=1, analysed=0, excluded=0, quarantined=0, still_open=0,
                unrecorded=0, balanced=balanced,
            )  # fmt: skip
            session.add(row)
        shown = "triage reconcile" in client.get("/studies").text
        assert shown is not balanced
        assert ("alert" in client.get("/readyz").text) is not balanced
