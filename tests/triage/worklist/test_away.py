"""What the pages say while the database is away, and that they come back by themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from db import schema
from db.engine import Database, now
from db.tables import UserRow
from tests import servers
from tests.conftest import dsn
from tests.triage.worklist.client import NAME, Client
from triage import settings as noun
from triage.worklist import sessions
from triage.worklist.app import create_app
from triage.worklist.headers import AWAY_TITLE, HEADERS

NAMED = "comes_and_goes"

pytestmark = pytest.mark.postgres


@pytest.fixture
def url(postgres_server: servers.Postgres) -> str:
    fresh = postgres_server.new_database(NAMED)
    schema.upgrade(fresh)
    return fresh


@pytest.fixture
def reader(url: str, tmp_path: Path) -> Iterator[Client]:
    """Signed in, at an application whose database is a server's."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "site.yaml").write_text(f"database: {{url: '{url}'}}\n")
    app = create_app(noun.load(tmp_path))
    database: Database = app.state.context.database
    with database.begin() as session:
        row = UserRow(name=NAME, password_hash="", role="radiologist", created_at=now(session))
        session.add(row)
        session.flush()
        token = sessions.open_session(session, row)
    with Client(app) as client:
        client.cookies.set("triage", token, domain="triage.test")
        yield client
    app.state.previews.close()
    app.state.viewing.close()
    database.dispose()


@contextmanager
def away(server: servers.Postgres) -> Iterator[None]:
    """Cut every connection to the database, and take no new one."""
    with psycopg.connect(dsn(server, "postgres"), autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {NAMED} ALLOW_CONNECTIONS false".encode())
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (NAMED,)
        )
        try:
            yield
        finally:
            admin.execute(f"ALTER DATABASE {NAMED} ALLOW_CONNECTIONS true".encode())


def test_a_page_says_that_the_database_is_away_and_comes_back_with_it(
    reader: Client, postgres_server: servers.Postgres
) -> None:
    assert reader.get("/studies").status_code == 200
    csrf_token = reader.csrf()
    with away(postgres_server):
        for place in ("/studies", "/studies/rows", "/studies/1", "/account"):
            page = reader.get(place)
            assert page.status_code == 503, place
            assert page.headers["Retry-After"] == "5"
            assert AWAY_TITLE in page.text
            assert {name: page.headers.get(name) for name in HEADERS} == HEADERS
        sent = reader.post("/studies/search", {"text": "x", "csrf_token": csrf_token})
        assert sent.status_code == 503
        told = reader.get("/api/studies")
        assert told.status_code == 503
        assert told.json()["detail"].startswith(AWAY_TITLE)
        assert reader.get("/healthz").status_code == 200
        assert reader.get("/readyz").status_code == 503
    assert reader.get("/studies").status_code == 200
