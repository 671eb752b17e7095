"""The schema's version: bring a database up or down, look, compare, or refuse to start.

A revision's id is the number its file begins with, so that looking needs no import of Alembic.
"""

from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import Connection, inspect, text

from db.engine import Database, connect

if TYPE_CHECKING:
    from alembic.config import Config

Result = TypeVar("Result")
VERSION_TABLE: Final = "alembic_version"
GUARDS: Final = frozenset(
    {
        *(
            f"{table}_refuses_{verb}"
            for table in ("audit", "audit_once", "audit_seal", "feedback", "transition")
            for verb in ("update", "delete")
        ),
        "study_refuses_unnoted_state",
        "study_becomes_unread",
    }
)
"""The triggers that a whole database has."""
MONTHLY: Final = frozenset({"audit_row_refuses_change", "audit_month_refuses_truncate"})
"""Those that every month of the trail has besides, on PostgreSQL."""
SEARCHED: Final[Mapping[str, frozenset[str]]] = {
    "sqlite": frozenset(
        {"study_text", "study_text_takes", "study_text_drops", "study_text_follows"}
    ),
    "postgresql": frozenset({"ix_study_text"}),
}
"""What search reads and what keeps it current, which no table here describes."""
_LOCK: Final = 0x7472_6961_6765
"""Of PostgreSQL's advisory lock: one migration at a time."""


class SchemaError(Exception):
    """The database's schema is not the one this program was written for."""


def head() -> str:
    """Give the newest revision this program knows."""
    return max(known())


def known() -> frozenset[str]:
    """Give every revision this program knows."""
    names = (entry.name for entry in files("db.migrations.versions").iterdir())
    return frozenset(name.partition("_")[0] for name in names if name[:4].isdecimal())


def current(url: str) -> str | None:
    """Give the revision the database is at; None when it is empty."""
    return _with(url, revision)


def upgrade(url: str, to: str | None = None) -> None:
    """Bring the database to the newest revision, or to ``to``; nothing happens when it is there.

    Safe to call from several processes at once: one migrates, the others wait and find it done.

    Raises:
        SchemaError: the database was written by a newer program.
    """
    _with(url, lambda database: _upgrade(database, to or head()))


def downgrade(url: str, to: str) -> None:
    """Take the database back to revision ``to``; "base" drops everything."""
    _with(url, lambda database: _run(database, "downgrade", to))


def check(url: str) -> list[str]:
    """Give the differences between the database and the tables of ``db.tables``, in words."""
    return _with(url, _differences)


def require_head(database: Database) -> None:
    """Refuse a database that is behind or ahead of this program.

    Raises:
        SchemaError: with what to do about it.
    """
    found = revision(database)
    if found == head():
        return
    _refuse_unknown(found)
    msg = f"the database is at revision {found or 'none'}, not {head()}: run `triage db upgrade`"
    raise SchemaError(msg)


def revision(database: Database) -> str | None:
    """Give the revision an open database is at; None when it is empty."""
    with database.reading() as session:
        if not inspect(session.connection()).has_table(VERSION_TABLE):
            return None
        found = session.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def _upgrade(database: Database, to: str) -> None:
    found = revision(database)
    _refuse_unknown(found)
    if found != to:
        _run(database, "upgrade", to)


def _refuse_unknown(found: str | None) -> None:
    if found is not None and found not in known():
        msg = (
            f"the database is at revision {found}, which this program does not know: it was "
            "written by a newer release; install that one, or restore a backup"
        )
        raise SchemaError(msg)


def _run(database: Database, what: str, to: str) -> None:
    """Migrate in one transaction that no other migration can share."""
    from alembic import command

    with database.engine.begin() as connection:  # SQLite: BEGIN IMMEDIATE is the lock
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        getattr(command, what)(_config(connection), to)


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    folder = str(Path(str(files("db.migrations").joinpath("env.py"))).parent)
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _differences(database: Database) -> list[str]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from db.tables import StudyRow

    with database.reading() as session:
        connection = session.connection()
        options = {
            "compare_type": True, "compare_server_default": True,
            "include_name": besides_months(connection),
        }  # fmt: skip
        context = MigrationContext.configure(connection, opts=options)
        found = [_words(one) for one in compare_metadata(context, StudyRow.metadata)]
        missing = [
            *(f"trigger {name} is missing" for name in sorted(GUARDS - _triggers(connection))),
            *_unguarded(connection),
            *_unsearched(connection),
        ]
    return [*found, *missing]


def months(connection: Connection) -> frozenset[str]:
    """Give the tables that the trail's months are kept in; SQLite has none."""
    if connection.dialect.name == "sqlite":
        return frozenset()
    listing = text("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")
    return frozenset(connection.execute(listing).scalars())


def besides_months(connection: Connection) -> Callable[[str | None, str, object], bool]:
    """Give Alembic's question whether a name counts.

    A month is a part of a table, not one; FTS5 keeps its words in tables of its own; and an index
    of trigrams is in no words of ours.
    """
    parts, apart = months(connection), SEARCHED[connection.dialect.name]

    def counts(name: str | None, kind: str, _parents: object) -> bool:
        if kind == "index":
            return name not in apart
        return kind != "table" or (name not in parts and not str(name).startswith("study_text"))

    return counts


def _unguarded(connection: Connection) -> list[str]:
    """Give the months that a statement on them alone could change."""
    guarded = {name: set[str]() for name in months(connection)}
    if not guarded:
        return []
    listing = (
        "SELECT relname, tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
        " WHERE relispartition"
    )
    for name, trigger in connection.execute(text(listing)):
        guarded[name].add(trigger)
    return [
        f"trigger {trigger} is missing on {name}"
        for name, has in sorted(guarded.items())
        for trigger in sorted(MONTHLY - has)
    ]


def _unsearched(connection: Connection) -> list[str]:
    """Give what search misses."""
    listing = (
        "SELECT indexname FROM pg_indexes WHERE tablename = 'study'"
        if connection.dialect.name == "postgresql"
        else "SELECT name FROM sqlite_master WHERE name LIKE 'study_text%'"
    )
    there = set(connection.execute(text(listing)).scalars())
    apart = SEARCHED[connection.dialect.name]
    return [f"{name}, which search needs, is missing" for name in sorted(apart - there)]


def _triggers(connection: Connection) -> set[str]:
    """Give the names of the database's own triggers."""
    listing = (
        "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
        if connection.dialect.name == "postgresql"
        else "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    )
    return set(connection.execute(text(listing)).scalars())


def _words(difference: object) -> str:
    """Flatten Alembic's tuples: ("modify_type", None, "study", "rank", ...)."""
    if isinstance(difference, list):
        return "; ".join(_words(one) for one in difference)
    return repr(difference)


def _with(url: str, work: Callable[[Database], Result]) -> Result:
    database = connect(url)
    try:
        return work(database)
    finally:
        database.dispose()
