"""UPS-RS over a real server: plain HTTP with httpx, events over a WebSocket."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from db.engine import Database
from tests.triage.ups.doors import settings, token, web_door
from tests.triage.ups.items import new_item, of_state, performed, progress, uid
from triage.ups import tokens
from triage.ups.words import GLOBAL

TRANSACTION = "2.25.4711"


@pytest.fixture
def program(sqlite_database: Database) -> Iterator[httpx.Client]:
    with web_door(sqlite_database, settings(max_results=3)) as url:
        headers = {
            "Authorization": f"Bearer {token(sqlite_database)}",
            "Accept": "application/dicom+json",
            "Content-Type": "application/dicom+json",
        }
        with httpx.Client(base_url=url, headers=headers) as client:
            yield client


def sent(dataset: Dataset) -> str:
    return json.dumps([dataset.to_json_dict()])


def created(program: httpx.Client, **given: object) -> str:
    item = uid()
    answer = program.post("/workitems", params={"workitem": item}, content=sent(new_item(**given)))
    assert answer.status_code == 201, answer.text
    return item


def change(program: httpx.Client, item: str, state: str, by: str = TRANSACTION) -> httpx.Response:
    return program.put(f"/workitems/{item}/state", content=sent(of_state(state, by)))


def found(answer: httpx.Response) -> list[Dataset]:
    return [Dataset.from_json(one) for one in answer.json()]


def test_the_whole_life_of_a_work_item(program: httpx.Client) -> None:
    item = created(program)
    assert program.get("/workitems", params={"ProcedureStepState": "COMPLETED"}).status_code == 204
    matches = found(program.get("/workitems", params={"ProcedureStepState": "SCHEDULED"}))
    assert [one.SOPInstanceUID for one in matches] == [item]
    assert change(program, item, "COMPLETED").status_code == 409
    assert change(program, item, "IN PROGRESS").status_code == 200
    lost = change(program, item, "IN PROGRESS", "2.25.1")
    assert (lost.status_code, lost.json()["status"]) == (400, "C301")
    assert lost.headers["Warning"].endswith("The Transaction UID is incorrect.")
    path = f"/workitems/{item}"
    assert program.post(path, content=sent(progress())).status_code == 400
    by = {"transaction-uid": TRANSACTION}
    assert program.post(path, params=by, content=sent(progress())).status_code == 200
    unmet = change(program, item, "COMPLETED")
    assert (unmet.status_code, unmet.json()["status"]) == (409, "C304")
    assert program.post(path, params=by, content=sent(performed())).status_code == 200
    assert change(program, item, "COMPLETED").status_code == 200
    again = change(program, item, "COMPLETED")
    assert again.status_code == 200
    assert "already in the requested state of COMPLETED" in again.headers["Warning"]
    assert program.post(path, params=by, content=sent(progress())).status_code == 400
    assert program.post(f"{path}/cancelrequest").status_code == 409
    answer = program.get(path)
    assert answer.headers["Content-Type"] == "application/dicom+json"
    assert TRANSACTION not in answer.text
    [whole] = found(answer)
    assert (whole.ProcedureStepState, str(whole.PatientName)) == ("COMPLETED", "Doe^Jörg")


def test_the_uid_may_stand_in_the_query_or_in_the_item(program: httpx.Client) -> None:
    first, second = uid(), uid()
    named = program.post(f"/workitems?{first}", content=sent(new_item()))
    assert named.headers["Location"].endswith(f"/dicomweb/workitems/{first}")
    inside = program.post("/workitems", content=sent(new_item(SOPInstanceUID=second)))
    assert inside.headers["Location"].endswith(f"/workitems/{second}")
    assert program.post(f"/workitems?{first}", content=sent(new_item())).status_code == 409
    assert program.post("/workitems", content=sent(new_item())).status_code == 400


def test_a_label_that_we_filled_in_is_a_warning(program: httpx.Client) -> None:
    answer = program.post(f"/workitems?{uid()}", content=sent(new_item(WorklistLabel="")))
    assert answer.status_code == 201
    assert answer.headers["Warning"].endswith("The Workitem was created with modifications.")


def test_a_long_list_comes_in_pages(program: httpx.Client) -> None:
    made = [created(program) for _ in range(5)]
    first = program.get("/workitems")
    assert (first.status_code, len(first.json())) == (206, 3)
    rest = program.get("/workitems", params={"offset": "3", "includefield": "all"})
    assert rest.status_code == 200
    assert [one.SOPInstanceUID for one in found(first) + found(rest)] == made


def test_a_cancel_request_is_accepted_or_in_conflict(program: httpx.Client) -> None:
    free, claimed = created(program), created(program)
    assert program.post(f"/workitems/{free}/cancelrequest").status_code == 202
    again = program.post(f"/workitems/{free}/cancelrequest")
    assert (again.status_code, "already" in again.headers["Warning"]) == (409, True)
    change(program, claimed, "IN PROGRESS")
    unheard = program.post(f"/workitems/{claimed}/cancelrequest")
    assert (unheard.status_code, unheard.json()["status"]) == (409, "C312")


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/workitems/2.25.404", "", 404),
        ("PUT", "/workitems/2.25.404/state", sent(of_state("IN PROGRESS", "2.25.1")), 404),
        ("GET", "/workitems?NoSuchKeyword=1", "", 400),
        ("GET", "/workitems?limit=many", "", 400),
        ("POST", "/workitems?2.25.9", "no json", 400),
        ("POST", "/workitems?2.25.9", '[{"00100010": 3}]', 400),
        ("POST", "/workitems?2.25.9", "[" * 5000, 400),
        ("POST", "/workitems?2.25.9", json.dumps([new_item().to_json_dict()] * 2), 400),
        ("POST", f"/workitems/{GLOBAL}/subscribers/A%5CB", "", 400),
        ("POST", "/workitems/2.25.404/subscribers/WATCHER/suspend", "", 409),
        ("DELETE", "/workitems/2.25.404/subscribers/WATCHER", "", 404),
        ("PATCH", "/workitems", "", 405),
        ("GET", "/nothing", "", 404),
    ],
)
def test_a_refusal_has_its_code(
    program: httpx.Client, method: str, path: str, body: str, code: int
) -> None:
    assert program.request(method, path, content=body).status_code == code


def test_only_dicom_json_is_spoken(program: httpx.Client) -> None:
    xml = {"Content-Type": "application/dicom+xml"}
    assert program.post(f"/workitems?{uid()}", content="<a/>", headers=xml).status_code == 415
    assert program.get("/workitems", headers={"Accept": "text/html"}).status_code == 406


class TestTokens:
    def test_nobody_gets_in_without_one(
        self, program: httpx.Client, sqlite_database: Database
    ) -> None:
        for header in ("", "Bearer", "Bearer wrong", "Basic YTpi"):
            answer = program.get("/workitems", headers={"Authorization": header})
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_one_ends_when_it_is_revoked(
        self, program: httpx.Client, sqlite_database: Database
    ) -> None:
        with sqlite_database.begin() as session:
            tokens.revoke(session, "program", actor="tester")
        assert program.get("/workitems").status_code == 401

    def test_it_does_only_what_its_roles_allow(
        self, program: httpx.Client, sqlite_database: Database
    ) -> None:
        watcher = {"Authorization": f"Bearer {token(sqlite_database, 'eye', 'watcher')}"}
        answer = program.post(f"/workitems?{uid()}", content=sent(new_item()), headers=watcher)
        assert answer.status_code == 403
        assert program.get("/workitems", headers=watcher).status_code == 204

    def test_its_name_is_taken_once(self, sqlite_database: Database) -> None:
        token(sqlite_database, "one")
        with pytest.raises(tokens.BadToken, match="already"):
            token(sqlite_database, "one")


class TestChannel:
    def test_events_arrive_in_order_and_once(self, program: httpx.Client) -> None:
        watch = program.post(f"/workitems/{GLOBAL}/subscribers/EYE?deletionlock=true")
        assert watch.status_code == 201
        item = created(program)
        where = watch.headers["Content-Location"]
        assert where.startswith("ws://127.0.0.1")
        first = heard(program, where, 1)
        change(program, item, "IN PROGRESS")
        program.post(
            f"/workitems/{item}", params={"transaction-uid": TRANSACTION}, content=sent(progress())
        )
        asked = sent(Dataset.from_json({"00741238": {"vr": "LT", "Value": ["Not needed"]}}))
        assert program.post(f"/workitems/{item}/cancelrequest", content=asked).status_code == 202
        events = first + heard(program, where, 3)
        assert [one["00001002"]["Value"][0] for one in events] == [1, 1, 3, 2]
        assert {one["00001000"]["Value"][0] for one in events} == {item}
        assert events[0]["00741000"]["Value"] == ["SCHEDULED"]
        assert events[1]["00741000"]["Value"] == ["IN PROGRESS"]
        assert events[3]["00741238"]["Value"] == ["Not needed"]

    def test_it_opens_to_a_token_only(self, program: httpx.Client) -> None:
        url = f"{program.base_url}subscribers/EYE".replace("http", "ws", 1)
        with pytest.raises(InvalidStatus) as refused, connect(url):
            pass
        assert refused.value.response.status_code == 403


def heard(program: httpx.Client, url: str, count: int) -> list[dict[str, Any]]:
    """Open the channel, take so many events and close it."""
    headers = {"Authorization": program.headers["Authorization"]}
    with connect(url, additional_headers=headers, proxy=None) as socket:
        return [json.loads(socket.recv(timeout=60)) for _ in range(count)]
