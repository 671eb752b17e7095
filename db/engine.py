"""Connections: SQLite as the embedded default, PostgreSQL by URL; one way to open a transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session, sessionmaker

BUSY_TIMEOUT_S = 10
READ_ONLY = {"triage_read_only": True}


@dataclass(frozen=True, slots=True)
class Database:
    """An engine and the two kinds of transaction."""

    engine: Engine
    _writers: sessionmaker[Session]
    _readers: sessionmaker[Session]

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Open a transaction that may write; commits at the end, rolls back on any error."""
        with self._writers.begin() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a transaction that only reads; it never waits for a writer."""
        with self._readers.begin() as session:
            yield session

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def connect(url: str) -> Database:
    """Open the database at ``url``. Bound values never appear in error texts."""
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = create_engine(
            parsed, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_S}
        )
        _teach_sqlite(engine)
    else:
        engine = create_engine(parsed, hide_parameters=True, pool_pre_ping=True, pool_size=4)
    return Database(
        engine,
        sessionmaker(engine, expire_on_commit=False),
        sessionmaker(engine.execution_options(**READ_ONLY), expire_on_commit=False),
    )


def now(session: Session) -> datetime:
    """Give the database's own clock: leases never trust a worker's."""
    if session.get_bind().dialect.name == "sqlite":
        stamp: str = session.execute(
            text("SELECT strftime('%Y-%m-%d %H:%M:%f','now')")
        ).scalar_one()
        return datetime.fromisoformat(stamp).replace(tzinfo=UTC)
    moment: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return moment.astimezone(UTC)


def _teach_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:  # noqa: ANN401 - DBAPI objects
        connection.isolation_level = None  # we emit BEGIN ourselves
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={BUSY_TIMEOUT_S * 1000}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Any) -> None:  # noqa: ANN401
        # A deferred BEGIN that later writes fails at once with "database is locked".
        read_only = connection.get_execution_options().get("triage_read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
