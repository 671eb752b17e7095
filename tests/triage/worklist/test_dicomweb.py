"""UPS-RS on the worklist's server: behind a token, apart from the sessions, within limits."""

import json
from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from tests.triage.ups.items import new_item, reference
from tests.triage.worklist.client import Client
from triage.settings import Settings
from triage.ups import tokens
from triage.workflow import Workflow, WorkManager
from triage.worklist.app import create_app

MEGABYTE = 1_048_576


@pytest.fixture
def managing(settings: Settings) -> Iterator[FastAPI]:
    ups = Workflow(manager=WorkManager(enabled=True))
    site = settings.site.model_copy(update={"ups": ups})
    app = create_app(settings.model_copy(update={"site": site}))
    yield app
    app.state.previews.close()
    app.state.context.database.dispose()


@pytest.fixture
def program(managing: FastAPI) -> Iterator[Client]:
    with Client(managing) as client:
        yield client


def bearer(app: FastAPI) -> dict[str, str]:
    with app.state.context.database.begin() as session:
        token = tokens.add(session, "program", ["requester"], actor="tester")
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/dicom+json"}


def test_where_the_site_does_not_ask_for_it_there_is_nothing(client: Client) -> None:
    assert client.get("/dicomweb/workitems").status_code == 404


def test_a_session_does_not_open_it_and_a_token_opens_nothing_else(
    program: Client, managing: FastAPI
) -> None:
    assert program.get("/dicomweb/workitems").status_code == 401
    headers = bearer(managing)
    answer = program.get("/dicomweb/workitems", headers=headers)
    assert answer.status_code == 204
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert program.get("/api/studies", headers=headers).status_code == 403


def test_an_item_of_a_large_study_is_taken_and_one_without_end_is_not(
    program: Client, managing: FastAPI
) -> None:
    headers = bearer(managing)
    inputs = [reference(f"1.2.{number}") for number in range(1_000)]
    large = json.dumps(new_item(InputInformationSequence=inputs).to_json_dict())
    assert len(large) > MEGABYTE // 4
    url = "/dicomweb/workitems?2.25.1"
    assert program.send("POST", url, large, headers=headers).status_code == 201
    endless = " " * (5 * MEGABYTE)
    assert program.send("POST", url, endless, headers=headers).status_code == 413
