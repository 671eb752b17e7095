import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response

from db.engine import Database
from tests.triage.worklist.builders import add_study
from tests.triage.worklist.client import Client
from triage import log
from triage.worklist.headers import CONTENT_SECURITY_POLICY, HEADERS, MAX_BODY_BYTES

PLACES = [
    "/", "/studies", "/studies/rows", "/studies/1", "/studies/999999", "/studies/x",
    "/studies/1/preview.png", "/quarantine", "/api/studies", "/login", "/setup", "/healthz",
    "/readyz", "/nowhere", "/static/triage.css", "/static/triage.js", "/static/nothing",
]  # fmt: skip
CANARY = "ZZCANARYZZ"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("who", ["client", "anonymous"])
def test_every_answer_carries_every_security_header(
    request: pytest.FixtureRequest, rows: Database, place: str, who: str
) -> None:
    client: Client = request.getfixturevalue(who)
    with rows.begin() as session:
        add_study(session)
    answer = client.get(place)
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


def test_the_policy_allows_no_inline_script_or_style_and_no_other_place() -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'self'")


def test_no_page_holds_an_inline_script_style_or_handler(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        add_study(session)
    for place in ("/studies", "/studies/1", "/quarantine", "/login"):
        text = client.get(place).text
        assert "<style" not in text
        assert " style=" not in text
        assert " onload=" not in text
        assert "<script>" not in text


def test_a_body_larger_than_any_form_is_refused(client: Client) -> None:
    answer = client.post("/studies/search", {"text": "x" * (MAX_BODY_BYTES + 1)})
    assert answer.status_code == 413
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


def test_a_broken_page_tells_a_number_and_nothing_else(
    app: FastAPI, client: Client, rows: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure("web", as_json=True)

    def breaks(_request: Request) -> Response:
        raise RuntimeError(CANARY)

    app.add_route("/breaks", breaks)
    answer = client.get("/breaks")
    assert answer.status_code == 500
    assert CANARY not in answer.text
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    said = capsys.readouterr()
    assert CANARY not in said.out + said.err
    assert "test_headers.py" in said.out + said.err


@pytest.mark.parametrize(
    "place", [f"/studies/{CANARY}", f"/studies?list={CANARY}", f"/api/studies?limit={CANARY}"]
)
def test_what_was_typed_wrongly_is_not_sent_back(client: Client, place: str) -> None:
    answer = client.get(place)
    assert answer.status_code in {400, 404, 422}
    assert CANARY not in answer.text
