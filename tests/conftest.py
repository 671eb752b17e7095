"""A migrated database for each test, on SQLite and on PostgreSQL."""

import gc
import logging
import os
import shutil
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
import structlog

from db import schema
from db.engine import Database, connect
from db.tables import StudyRow
from tests import servers
from triage.commands import loading

MIGRATED = "migrated"
BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
NUMBERS = count(1)
LONGEST = (
    "test_road.py", "test_chaos.py", "test_demo.py", "test_order.py", "test_crashes.py",
    "test_every_page.py", "test_canaries.py", "test_simulate.py",
)  # fmt: skip
HOLDS = " UNION ALL ".join(
    f"SELECT '{table.name}' WHERE EXISTS (SELECT FROM {table.name})"
    for table in StudyRow.metadata.sorted_tables
)
BEGIN_AGAIN = """
SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
FROM pg_sequences WHERE last_value IS NOT NULL
"""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what is collected, a million objects, out of each later search for garbage.

    What tests make is searched as ever: a file or socket left open must be found.
    """
    loading.begin()
    try:
        return (yield)
    finally:
        gc.collect()
        loading.settle()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes: behind the others one worker would end alone."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Services shut others out of what they write; a test that starts one here is no service."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.Postgres]:
    """One server for the whole run, with one migrated database."""
    with servers.postgres("-c", "fsync=off", "-c", "max_connections=60") as server:
        schema.upgrade(server.new_database(MIGRATED))
        yield server


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "rows.sqlite"
    schema.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'rows.sqlite'}"
    empty: str = request.getfixturevalue("postgres_empty")
    return empty


@pytest.fixture
def postgres_empty(postgres_server: servers.Postgres) -> str:
    return postgres_server.new_database(f"empty_{next(NUMBERS)}")


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database."""
    if request.param == "sqlite":
        return sqlite_copy(request.getfixturevalue("migrated_file"), tmp_path)
    return postgres_emptied(request.getfixturevalue("postgres_server"))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    yield from opened(url)


@pytest.fixture
def sqlite_database(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    yield from opened(sqlite_copy(migrated_file, tmp_path))


@pytest.fixture
def postgres_database(postgres_server: servers.Postgres) -> Iterator[Database]:
    yield from opened(postgres_emptied(postgres_server))


def opened(url: str) -> Iterator[Database]:
    database = connect(url)
    try:
        yield database
    finally:
        database.dispose()


def sqlite_copy(migrated: Path, folder: Path) -> str:
    path = shutil.copy(migrated, folder / "rows.sqlite")
    return f"sqlite:///{path}"


def postgres_emptied(server: servers.Postgres) -> str:
    """Give the migrated database without a row: a copy for each test would write gigabytes.

    Only tables that hold something are touched: to truncate all of them takes 0.16 s.
    """
    with psycopg.connect(dsn(server, MIGRATED), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # past the triggers
        connection.execute("SET lock_timeout = '10s'")
        for (name,) in connection.execute(HOLDS.encode()).fetchall():
            connection.execute(f"DELETE FROM {name}".encode())
        connection.execute(BEGIN_AGAIN)
    return server.url(MIGRATED)


def dsn(server: servers.Postgres, name: str) -> str:
    return f"host={server.socket_folder} port={server.port} user=postgres dbname={name}"


@pytest.fixture(autouse=True)
def _process_as_before() -> Iterator[None]:
    """Undo what commands run inside a test do to its process: logging and environment.

    A logger kept for later writes to a stream long closed; a state folder kept in the environment
    is read by the children of the next test.
    """
    before, environment = structlog.get_config(), dict(os.environ)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(capture=False)
    logging.disable(logging.NOTSET)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in {*os.environ, *environment}:
        if name.startswith("TRIAGE_"):
            os.environ.pop(name, None)
            if name in environment:
                os.environ[name] = environment[name]
