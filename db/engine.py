"""Connections: SQLite as the embedded default, PostgreSQL by URL; one way to open a transaction."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT_S = 10
IDLE_TIMEOUT_S = 60
"""A transaction left open this long ends: a frozen process holds no lock for ever."""
POSTGRESQL_NOW = text("SELECT clock_timestamp()")
FRESH_S = 1.0
"""No server restarts in less: a connection that was in use since then is not asked."""
USED = "triage_used"
RAISED_BY_TRIGGER = "23000"
"""By our own triggers only; their words quote no row."""
TRANSIENT_SQLSTATES = ("08", "40", "53", "57P", "55P03", "25P03")
"""Connection, rollback, no resource, shutdown, lock timeout, idle timeout."""


@dataclass(frozen=True, slots=True)
class Database:
    """Engines and the kinds of transaction."""

    engine: Engine
    """For writing; PostgreSQL's readers draw on its connections, too."""
    readers: Engine
    _alone: Engine
    _writers: sessionmaker[Session]
    _readers: sessionmaker[Session]

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Open a transaction that may write; commits at the end, rolls back on any error."""
        with self._writers.begin() as session:
            yield session

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """Open a connection on which each statement is a transaction of its own.

        For a single one: it waits for the server once and not three times.
        """
        with self._alone.connect() as connection:
            yield connection

    @contextmanager
    def bare(self) -> Iterator[sqlite3.Connection]:
        """Give the driver's own connection to SQLite: its wrapping is half of what a row takes.

        Raises:
            DBAPIError: as anywhere else; it says no value.
        """
        connection = self._alone.raw_connection()
        try:
            yield cast("sqlite3.Connection", connection.driver_connection)
        except sqlite3.Error as why:
            raise DBAPIError(None, None, why, hide_parameters=True) from None
        finally:
            connection.close()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a transaction that only reads; it never waits for a writer."""
        with self._readers.begin() as session:
            yield session

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()
        self.readers.dispose()
        self._alone.dispose()


def connect(url: str) -> Database:
    """Open the database at ``url``. Bound values never appear in error texts."""
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        _make_private(parsed.database)
        kinds = ("BEGIN IMMEDIATE", "BEGIN", "")
        engine, readers, alone = (_sqlite(parsed, begin) for begin in kinds)
    else:
        engine, alone = _postgresql(parsed), _postgresql(parsed, isolation_level="AUTOCOMMIT")
        readers = engine.execution_options(postgresql_readonly=True)
    return Database(
        engine,
        readers,
        alone,
        sessionmaker(engine, expire_on_commit=False),
        sessionmaker(readers, expire_on_commit=False),
    )


def is_transient(error: DBAPIError) -> bool:
    """Tell whether the same transaction may succeed later: busy, restarting, full, deadlocked."""
    sqlite_name = getattr(error.orig, "sqlite_errorname", None)
    if sqlite_name is not None:
        return str(sqlite_name).startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL"))
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is None:  # no answer from a server: it is gone, or not there yet
        return isinstance(error, OperationalError) or error.connection_invalidated
    return str(sqlstate).startswith(TRANSIENT_SQLSTATES)


def dialect(on: Session | Connection) -> str:
    """Give the kind of database: "sqlite" or "postgresql"."""
    return (on if isinstance(on, Connection) else on.get_bind()).dialect.name


def now(session: Session | Connection) -> datetime:
    """Give the database's own clock: leases never trust a worker's.

    SQLite has none but this machine's, and tells it in milliseconds.
    """
    if dialect(session) == "sqlite":
        return here()
    moment: datetime = session.execute(POSTGRESQL_NOW).scalar_one()
    return moment.astimezone(UTC)


def here() -> datetime:
    """Give this machine's clock, in whole milliseconds."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _make_private(path: str | None) -> None:
    """Create the file for its owner alone; SQLite gives its log files the same mode."""
    if not path or path == ":memory:":
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    Path(path).touch(mode=0o600)


def _sqlite(url: URL, begin: str) -> Engine:
    """Open a file for one kind of transaction: one that may write, one that only reads, or none.

    A connection that changes its kind (``PRAGMA query_only``) forgets every statement it has
    prepared: a page after a write would take a tenth to a fifth longer.
    """
    engine = create_engine(
        url,
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT_S},
        pool_reset_on_return="rollback" if begin else None,
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:  # noqa: ANN401 - DBAPI objects
        connection.isolation_level = None  # we emit BEGIN ourselves
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        if begin == "BEGIN":
            connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Any) -> None:  # noqa: ANN401
        # A deferred BEGIN that later writes fails at once with "database is locked".
        if begin:
            connection.exec_driver_sql(begin)

    return engine


def _postgresql(url: URL, **more: str) -> Engine:
    """Open a server's database for one kind of transaction: one that may write, or none.

    Each kind has connections of its own: to change a connection's kind is a round trip at each use.
    """
    engine = create_engine(url, hide_parameters=True, pool_size=4, pool_use_lifo=True, **more)
    _ask_the_rested(engine)
    _teach_postgresql(engine)
    return engine


def _ask_the_rested(engine: Engine) -> None:
    """Ask a connection whether it is still one, unless it was in use a moment ago.

    SQLAlchemy's own ``pool_pre_ping`` asks each time, which is three times a page.
    """

    @event.listens_for(engine, "checkin")
    def _on_checkin(_connection: Any, record: ConnectionPoolEntry) -> None:  # noqa: ANN401
        record.info[USED] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _on_checkout(connection: Any, record: ConnectionPoolEntry, _: object) -> None:  # noqa: ANN401
        if time.monotonic() - record.info.get(USED, time.monotonic()) < FRESH_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as why:
            raise DisconnectionError from why


def _teach_postgresql(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:  # noqa: ANN401
        before, connection.autocommit = connection.autocommit, True
        connection.execute(
            "SELECT set_config('lock_timeout', %s, false),"
            " set_config('idle_in_transaction_session_timeout', %s, false),"
            " set_config('synchronous_commit', coalesce(nullif("
            "   current_setting('synchronous_commit'), 'off'), 'on'), false)",
            (f"{BUSY_TIMEOUT_S}s", f"{IDLE_TIMEOUT_S}s"),
        )
        connection.autocommit = before

    @event.listens_for(engine, "handle_error")
    def _on_error(context: ExceptionContext) -> None:
        """Keep values out of texts: DETAIL quotes the row, a data exception quotes its input."""
        original = context.original_exception
        sqlstate = getattr(original, "sqlstate", None) or ""
        if not sqlstate.startswith(("22", "23")) or sqlstate == RAISED_BY_TRIGGER:
            return
        diag = original.diag  # type: ignore[attr-defined] # only psycopg's errors have a state
        places = (diag.table_name, diag.column_name, diag.constraint_name)
        words = f"{sqlstate} at {' '.join(filter(None, places)) or 'a statement'}"
        for error in (original, context.sqlalchemy_exception):
            if error is not None:
                error.args = (f"({type(original).__name__}) {words}",)
