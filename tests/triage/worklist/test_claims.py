"""Claims: made, renewed, given back, taken over with a reason, run out; and the next study."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from db.engine import Database, now
from db.reader_claims import ReaderClaimRow
from db.tables import StudyRow, UserRow
from tests.triage.worklist.builders import add_study
from tests.triage.worklist.client import NAME, Client
from tests.triage.worklist.conftest import audited
from triage.worklist import sessions

SECOND = "dr.second"


@pytest.fixture
def other(app: FastAPI, rows: Database) -> Iterator[Client]:
    """A second radiologist, signed in elsewhere."""
    with rows.begin() as session:
        session.execute(update(UserRow).values(role="radiologist"))
        user = UserRow(name=SECOND, password_hash="", role="radiologist", created_at=now(session))
        session.add(user)
        session.flush()
        token = sessions.open_session(session, user)
    with Client(app, address="10.0.0.8") as client:
        client.cookies.set("triage", token, domain="triage.test")
        yield client


def study(
    rows: Database, outcome: str = "prioritised", *, priority: int = 0, minutes: float = 5.0
) -> int:
    with rows.begin() as session:
        return add_study(session, outcome, priority=priority, minutes=minutes).id


def ask(client: Client, number: int, what: str = "claim", reason: str = "") -> int:
    """Press the key; gives the answer's status."""
    headers = {"X-CSRF-Token": client.csrf()}
    return client.post(f"/studies/{number}/{what}", {"reason": reason}, headers=headers).status_code


def claims(rows: Database) -> list[tuple[str, str]]:
    with rows.reading() as session:
        found = session.scalars(select(ReaderClaimRow).order_by(ReaderClaimRow.id))
        return [(one.owner, one.ended_by) for one in found]


def test_a_claim_is_shown_to_both_readers_and_on_the_owners_list(
    client: Client, other: Client, rows: Database
) -> None:
    number = study(rows)
    assert ask(client, number) == 204
    assert 'data-claim="mine"' in client.get("/studies?list=mine").text
    assert f'data-claim="{NAME}"' in other.get("/studies").text
    assert f'id="study-{number}"' not in other.get("/studies?list=mine").text
    assert "You read this study" in client.get(f"/studies/{number}").text
    assert f"{NAME} reads this study" in other.get(f"/studies/{number}").text
    [entry] = audited(rows, "claim.made")
    assert (entry.event_id, entry.actor, entry.action) == ("110111", NAME, "U")


def test_again_by_its_owner_it_is_renewed_and_then_given_back(
    client: Client, other: Client, rows: Database
) -> None:
    number = study(rows)
    assert [ask(client, number), ask(client, number)] == [204, 204]
    assert claims(rows) == [(NAME, "")]
    assert len(audited(rows, "claim.renewed")) == 1
    assert ask(other, number, "release") == 204  # not theirs: nothing happens
    assert claims(rows) == [(NAME, "")]
    assert ask(client, number, "release") == 204
    assert claims(rows) == [(NAME, "released")]
    assert len(audited(rows, "claim.released")) == 1
    assert ask(other, number) == 204


def test_another_takes_it_only_with_a_reason_which_is_written_down(
    client: Client, other: Client, rows: Database
) -> None:
    number = study(rows)
    ask(client, number)
    assert ask(other, number) == 409
    assert ask(other, number, reason="because") == 400
    assert claims(rows) == [(NAME, "")]
    assert ask(other, number, reason="urgent") == 204
    assert claims(rows) == [(NAME, "taken"), (SECOND, "")]
    [entry] = audited(rows, "claim.taken-over")
    detail = json.loads(entry.detail)
    assert (entry.actor, detail["from"], detail["reason"]) == (SECOND, NAME, "urgent")


def test_without_a_script_the_page_asks_for_the_reason(
    client: Client, other: Client, rows: Database
) -> None:
    number = study(rows)
    form = {"csrf_token": client.csrf()}
    assert client.post(f"/studies/{number}/claim", form).headers["location"].startswith("/studies/")
    answer = other.post(f"/studies/{number}/claim", {"csrf_token": other.csrf()})
    assert answer.status_code == 409
    assert "Another reader has this study" in answer.text
    assert 'value="owner-away"' in answer.text


def test_one_that_ran_out_holds_nobody(client: Client, other: Client, rows: Database) -> None:
    number = study(rows)
    ask(client, number)
    with rows.begin() as session:
        past = now(session) - timedelta(minutes=1)
        session.execute(update(ReaderClaimRow).values(expires_at=past))
    assert f'data-claim="{NAME}"' not in other.get("/studies").text
    assert ask(other, number) == 204
    assert claims(rows) == [(NAME, "expired"), (SECOND, "")]


def test_the_next_study_is_the_highest_unread_that_nobody_else_has(
    client: Client, other: Client, rows: Database
) -> None:
    routine, raised = study(rows, "not prioritised"), study(rows, priority=1)
    high, taken = study(rows, priority=2, minutes=1), study(rows, priority=2, minutes=9)
    ask(other, taken)
    for number in (high, raised, routine):
        where = client.get("/studies/next").headers["location"]
        assert where == f"/studies/{number}?list=unread"
        client.get(where)
    assert client.get("/studies/next").headers["location"] == "/studies?list=unread"


def test_the_next_study_is_of_those_that_the_list_was_narrowed_to(
    client: Client, rows: Database
) -> None:
    study(rows, priority=2)
    with rows.begin() as session:
        scan = add_study(session, modality="CT", institution_name="Clinic").id
    asked = "?list=mine&sort=rank&modality=CT&site=Clinic"
    kept = "?list=unread&modality=CT&site=Clinic"
    where = client.get(f"/studies/next{asked}").headers["location"]
    assert where == f"/studies/{scan}{kept}"
    client.get(where)
    assert client.get(f"/studies/next{asked}").headers["location"] == f"/studies{kept}"
    place = client.get(f"/studies/{scan}/view/next{asked}").headers["location"]
    assert place == f"/studies{kept}"


def test_opening_makes_it_read_and_a_new_outcome_makes_it_unread_again(
    client: Client, other: Client, rows: Database
) -> None:
    number = study(rows, "pending")

    def unread() -> bool:
        return f'id="study-{number}"' in client.get("/studies?list=unread").text

    assert unread()
    client.get(f"/studies/{number}")
    assert not unread()
    for change in ({"outcome": "prioritised"}, {"generation": 2}):
        with rows.begin() as session:
            session.execute(update(StudyRow).values(**change))
        assert unread()
        client.get(f"/studies/{number}")
        assert not unread()


def test_who_may_not_claim_opens_without_reading(client: Client, rows: Database) -> None:
    number = study(rows)
    with rows.begin() as session:
        session.execute(update(UserRow).values(role="technologist"))
    page = client.get(f"/studies/{number}").text
    assert "/claim" not in page
    assert 'class="take"' not in client.get("/studies").text
    assert f'id="study-{number}"' in client.get("/studies?list=unread").text
    assert ask(client, number) == 403
