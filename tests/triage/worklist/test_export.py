import csv
import io
import json

import pytest

from db.engine import Database
from tests.triage.worklist.builders import add_study
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited
from triage.worklist.context import DISCLAIMER

Rows = list[dict[str, str]]


def exported(client: Client, query: str = "") -> Rows:
    answer = client.post(f"/studies/export{query}", {"csrf_token": client.csrf()})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="triage-')
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))


def test_every_study_of_the_list_is_a_line_and_the_export_is_audited(
    client: Client, rows: Database
) -> None:
    with rows.begin() as session:
        for number in range(7):
            add_study(session, "failed" if number % 2 else "held", patient_name=f"N{number}")
    found = exported(client, "?list=failed")
    assert sorted(one["patient_name"] for one in found) == ["N1", "N3", "N5"]
    assert {one["state"] for one in found} == {"Failed"}
    assert {one[DISCLAIMER] for one in found} == {"triage"}
    [entry] = audited(rows, "worklist.exported")
    assert (entry.event_id, entry.outcome) == ("110106", 0)
    assert json.loads(entry.detail) == {
        "count": 3, "format": "csv", "list": "failed", "sort": "priority", "filters": {},
    }  # fmt: skip


def test_the_audit_tells_what_the_export_was_narrowed_to(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        add_study(session, modality="CT", institution_name="Clinic")
        add_study(session, modality="CT")
    assert len(exported(client, "?modality=CT&site=Clinic")) == 1
    [entry] = audited(rows, "worklist.exported")
    assert json.loads(entry.detail)["filters"] == {"modality": "CT", "site": "Clinic"}


def test_an_empty_list_still_says_what_it_is_not_for(client: Client) -> None:
    answer = client.post("/studies/export", {"csrf_token": client.csrf()})
    assert DISCLAIMER in answer.text


@pytest.mark.parametrize(
    "evil", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("x")']
)
def test_no_cell_is_a_formula(client: Client, rows: Database, evil: str) -> None:
    with rows.begin() as session:
        add_study(session, patient_name=evil, study_description=evil)
    [row] = exported(client)
    assert row["patient_name"] == f"'{evil}"
    assert row["study_description"] == f"'{evil}"


def test_a_comma_a_quote_and_a_line_break_stay_in_their_cell(
    client: Client, rows: Database
) -> None:
    text = 'DOE, "J"\nsecond; line'
    with rows.begin() as session:
        add_study(session, patient_name=text)
    assert exported(client)[0]["patient_name"] == text


@pytest.fixture
def two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site that exports two rows and no more."""
    monkeypatch.setenv("TRIAGE__READING__MAX_EXPORT_ROWS", "2")


@pytest.mark.usefixtures("two_rows")
def test_more_than_the_site_allows_is_cut_and_the_name_says_so(
    client: Client, rows: Database
) -> None:
    with rows.begin() as session:
        for _ in range(5):
            add_study(session)
    answer = client.post("/studies/export", {"csrf_token": client.csrf()})
    assert "first-2.csv" in answer.headers["content-disposition"]
    assert answer.text.count("DOE^JANE") == 2
