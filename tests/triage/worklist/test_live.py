"""The stream: it tells of changes, is counted, and ends with the session and with the server."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fastapi import FastAPI
from sqlalchemy import delete, select

from db.engine import Database
from db.tables import SessionRow, UserRow
from tests.triage.worklist.browser import serving, wait_for
from tests.triage.worklist.builders import add_study
from triage.reading import Reading
from triage.worklist import live, sessions
from triage.worklist.live import Live


@pytest.fixture
def served(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("LOOK_S", "BEAT_S", "SESSION_S"):
        monkeypatch.setattr(live, name, 0.1)
    with serving(app) as url:
        yield url.removeprefix("http://")
        app.state.live.is_open = False


@pytest.fixture
def token(rows: Database, app: FastAPI) -> str:
    with rows.begin() as session:
        return sessions.open_session(session, session.scalars(select(UserRow)).one())


@contextmanager
def listening(address: str, token: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(address, timeout=45)
    connection.request("GET", "/studies/stream", headers={"Cookie": f"triage={token}"})
    answer = connection.getresponse()
    try:
        yield answer
    finally:
        answer.close()
        connection.close()


def event(answer: http.client.HTTPResponse, kind: str) -> str:
    """Read on until an event of this kind; gives its data."""
    while line := answer.readline().decode():
        if line == f"event: {kind}\n":
            return answer.readline().decode().removeprefix("data: ").strip()
    pytest.fail(f"the stream ended without {kind}")


def test_it_tells_that_something_changed_and_never_what(
    served: str, token: str, rows: Database
) -> None:
    with listening(served, token) as answer:
        assert answer.getheader("content-type") == "text/event-stream; charset=utf-8"
        assert answer.getheader("cache-control") == "no-store"
        first = int(event(answer, "changed"))
        event(answer, "beat")
        with rows.begin() as session:
            add_study(session, patient_name="SECRET")
        assert int(event(answer, "changed")) > first


def test_it_ends_with_the_session(served: str, token: str, rows: Database) -> None:
    with listening(served, token) as answer:
        event(answer, "changed")
        with rows.begin() as session:
            session.execute(delete(SessionRow))
        event(answer, "ended")
        assert answer.read().strip() == b""


def test_it_ends_with_the_server(served: str, token: str, app: FastAPI) -> None:
    with listening(served, token) as answer:
        event(answer, "changed")
        app.state.live.is_open = False
        answer.read()
    wait_for(lambda: app.state.live.streams == 0, "the stream's end")


def test_one_that_nobody_listens_to_any_more_is_not_counted(
    served: str, token: str, app: FastAPI
) -> None:
    with listening(served, token) as answer:
        event(answer, "changed")
        assert app.state.live.streams == 1
    wait_for(lambda: app.state.live.streams == 0, "the stream's end")


def test_a_session_has_so_many_streams_and_no_more(served: str, token: str, app: FastAPI) -> None:
    for _ in range(Reading().max_streams_per_session):
        assert app.state.live.enter("somebody else")
    assert not app.state.live.enter("somebody else")
    with listening(served, token) as answer:
        assert answer.status == 200


def test_the_house_has_so_many_streams_and_no_more() -> None:
    told = Live(Reading(max_streams=3, max_streams_per_session=2))
    assert [told.enter(one) for one in "aabbc"] == [True, True, True, False, False]
    told.leave("a")
    assert told.enter("c")
    for one in "abc":
        told.leave(one)
    assert told.streams == 0


def test_where_there_are_enough_the_page_is_told_to_ask(
    served: str, token: str, app: FastAPI
) -> None:
    while app.state.live.enter(str(app.state.live.streams)):
        pass
    with listening(served, token) as answer:
        assert answer.status == 503
