"""No row of the audit, no page: what cannot be noted is not shown."""

import json

import pytest
from sqlalchemy import select, text

from db.engine import Database
from db.tables import SessionRow, StudyRow
from tests.triage.worklist.builders import add_study
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited

NAME = "WITHHELD^WILMA"
REFUSE = """
CREATE TRIGGER no_more_rows BEFORE INSERT ON audit
BEGIN SELECT RAISE(ABORT, 'no room for a row'); END
"""


@pytest.mark.parametrize("place", ["/studies", "/studies/rows", "/studies/1", "/studies/1/view"])
def test_a_page_whose_row_cannot_be_kept_is_not_shown(
    rows: Database, client: Client, place: str
) -> None:
    with rows.begin() as session:
        add_study(session, patient_name=NAME)
    assert "WITHHELD" in client.get("/studies?sort=rank").text
    with rows.begin() as session:
        session.execute(text(REFUSE))
    answer = client.get(place)
    assert answer.status_code == 500
    assert "WITHHELD" not in answer.text
    with rows.reading() as session:
        assert session.scalars(select(StudyRow.opened_at)).one() is None


def test_nor_what_a_search_found(rows: Database, client: Client) -> None:
    with rows.begin() as session:
        add_study(session, patient_name=NAME)
        session.execute(text(REFUSE))
    with rows.begin() as session:
        token = session.scalars(select(SessionRow.csrf_token)).one()
    answer = client.post("/studies/search", {"text": "withheld", "csrf_token": token})
    assert answer.status_code == 500
    assert "WITHHELD" not in answer.text


def test_a_look_that_could_not_be_noted_does_not_hide_the_next(
    rows: Database, client: Client
) -> None:
    with rows.begin() as session:
        add_study(session)
        session.execute(text(REFUSE))
    assert [client.get("/studies/rows").status_code for _ in range(2)] == [500, 500]
    with rows.begin() as session:
        session.execute(text("DROP TRIGGER no_more_rows"))
    assert client.get("/studies/rows").status_code == 200
    assert len(audited(rows, "worklist.list")) == 1


def test_a_list_that_stays_open_is_one_look_and_another_list_another(
    rows: Database, client: Client
) -> None:
    with rows.begin() as session:
        add_study(session)
    for place in ("/studies", "/studies/rows", "/studies/rows", "/studies/rows?list=held"):
        assert client.get(place).status_code == 200
    said = [json.loads(row.detail)["list"] for row in audited(rows, "worklist.list")]
    assert said == ["all", "held"]
