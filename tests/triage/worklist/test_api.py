import re

from db.engine import Database
from tests.triage.worklist.builders import add_report, add_study
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited
from triage.worklist.context import DISCLAIMER


def test_the_list_comes_page_by_page_with_what_a_program_needs(
    client: Client, rows: Database
) -> None:
    with rows.begin() as session:
        study = add_study(session, "prioritised", priority=2, priority_name="high", rank=0.99)
        session.add(add_report(study, study.received_at))
        add_study(session, minutes=241)
        add_study(session, "pending", minutes=30)
    first = client.get("/api/studies?limit=2").json()
    rest = client.get(f"/api/studies?limit=2&after={first['after']}").json()
    found = first["studies"] + rest["studies"]
    assert [one["outcome"] for one in found] == ["prioritised", "not prioritised", "pending"]
    assert [one["promoted"] for one in found] == [False, True, False]
    assert [one["overdue"] for one in found] == [False, False, True]
    assert found[0]["study_instance_uid"] == study.study_instance_uid
    assert (found[0]["priority"], found[0]["rank"], found[0]["report"]) == (2, 0.99, "sent")
    assert rest["after"] is None


def test_it_says_what_it_is_not_for_and_in_which_mode(client: Client) -> None:
    answer = client.get("/api/studies").json()
    assert (answer["notice"], answer["mode"]) == (DISCLAIMER, "triage")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", answer["as_of"])


def test_each_reading_is_audited(client: Client, rows: Database) -> None:
    client.get("/api/studies?list=held")
    (entry,) = audited(rows, "worklist.api")
    assert entry.event_id == "110112"


def test_a_page_has_a_largest_size(client: Client) -> None:
    assert client.get("/api/studies?limit=501").status_code == 422
    assert client.get("/api/studies?limit=501").json() == {
        "detail": "This page could not be understood."
    }
