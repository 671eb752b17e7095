"""The application over a migrated database, with one account."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser
from sqlalchemy import select

from db.engine import Database, now
from db.tables import AuditRow, UserRow
from tests.triage.worklist import browser as browsers
from tests.triage.worklist.client import NAME, PASSWORD, Client
from triage import settings as noun
from triage.settings import Settings
from triage.worklist import passwords, sessions
from triage.worklist.app import create_app

ROLES = "admin radiologist"
"""Of the account: whoever runs a small place reads there too."""


@pytest.fixture
def settings(tmp_path: Path, migrated_file: Path) -> Settings:
    state = tmp_path / "state"
    state.mkdir()
    shutil.copy(migrated_file, state / "triage.sqlite")
    return noun.load(state)


@pytest.fixture
def empty_app(settings: Settings) -> Iterator[FastAPI]:
    """Before the first sign-in: nobody has an account."""
    app = create_app(settings)
    yield app
    app.state.previews.close()
    app.state.viewing.close()
    app.state.context.database.dispose()


@pytest.fixture(scope="session")
def password_hash() -> str:
    """Once: argon2id is slow on purpose."""
    return passwords.digest(PASSWORD)


@pytest.fixture
def app(empty_app: FastAPI, rows: Database, password_hash: str) -> FastAPI:
    with rows.begin() as session:
        session.add(
            UserRow(name=NAME, password_hash=password_hash, role=ROLES, created_at=now(session))
        )
    return empty_app


@pytest.fixture
def rows(empty_app: FastAPI) -> Database:
    database: Database = empty_app.state.context.database
    return database


@pytest.fixture
def anonymous(app: FastAPI) -> Iterator[Client]:
    with Client(app) as client:
        yield client


@pytest.fixture
def client(anonymous: Client, rows: Database) -> Client:
    """Signed in."""
    with rows.begin() as session:
        token = sessions.open_session(session, session.scalars(select(UserRow)).one())
    anonymous.cookies.set("triage", token, domain="triage.test")
    return anonymous


def audited(database: Database, kind: str) -> list[AuditRow]:
    with database.reading() as session:
        return list(session.scalars(select(AuditRow).where(AuditRow.event_type == kind)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without a window, for the module's tests."""
    if browsers.PROGRAM is None:
        pytest.skip("Chromium is not installed")
    with browsers.chromium() as running:
        yield running


@pytest.fixture
def house(
    app: FastAPI, rows: Database, settings: Settings, password_hash: str, browser: Browser
) -> Iterator[browsers.House]:
    """The application behind a port of its own, for the browser."""
    with browsers.serving(app) as url:
        served = browsers.House(app, url, settings, rows, password_hash, browser)
        yield served
        served.close()


@pytest.fixture
def window(house: browsers.House) -> browsers.Window:
    """Signed in, in the dark."""
    return house.window()
