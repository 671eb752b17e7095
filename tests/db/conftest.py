"""A migrated database for each test, on SQLite and on PostgreSQL."""

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from db import schema
from db.engine import Database, connect
from tests import servers

BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
NUMBERS = count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.Postgres]:
    """One server for the whole run; its database "migrated" is a template."""
    with servers.postgres("-c", "fsync=off", "-c", "max_connections=60") as server:
        schema.upgrade(server.new_database("migrated"))
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
    server: servers.Postgres = request.getfixturevalue("postgres_server")
    return server.new_database(f"empty_{next(NUMBERS)}")


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database."""
    if request.param == "sqlite":
        return sqlite_copy(request.getfixturevalue("migrated_file"), tmp_path)
    return postgres_copy(request.getfixturevalue("postgres_server"))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    yield from opened(url)


@pytest.fixture
def sqlite_database(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    yield from opened(sqlite_copy(migrated_file, tmp_path))


@pytest.fixture
def postgres_database(postgres_server: servers.Postgres) -> Iterator[Database]:
    yield from opened(postgres_copy(postgres_server))


def opened(url: str) -> Iterator[Database]:
    database = connect(url)
    try:
        yield database
    finally:
        database.dispose()


def sqlite_copy(migrated: Path, folder: Path) -> str:
    path = shutil.copy(migrated, folder / "rows.sqlite")
    return f"sqlite:///{path}"


def postgres_copy(server: servers.Postgres) -> str:
    name = f"test_{next(NUMBERS)}"
    dsn = f"host={server.socket_folder} port={server.port} user=postgres dbname=postgres"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE migrated".encode())
    return server.url(name)
