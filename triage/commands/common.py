"""What every command shares: options, the settings, JSON or a table, exit codes."""

import json
import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Column, Table

from triage import rules
from triage import settings as configuration
from triage.errors import ConfigError
from triage.settings import Settings

if TYPE_CHECKING:
    from db.engine import Database

OK: Final = 0
FAILED: Final = 1
"""The command ran and something did not hold."""
USAGE: Final = 2
"""Wrong arguments."""
SETUP: Final = 3
"""Configuration, database or files need attention first."""
PIPE_COLUMNS: Final = 4000
"""A pipe has no width; a program or a person's pager reads it."""

State = Annotated[
    Path | None,
    typer.Option(
        "--state", help="State folder (by default in the user's data folder).", metavar="DIR"
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Configuration folder (by default STATE/configs).", metavar="DIR"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def load(state: Path | None, config: Path | None) -> Settings:
    """Read and check the settings, and pass the same folders on to child processes."""
    settings = configuration.load(state, config)
    rules.check(settings.routes)
    os.environ.update(environment(settings))
    return settings


def environment(settings: Settings) -> dict[str, str]:
    """Give the variables by which a child process finds the same state and configuration."""
    return {"TRIAGE_STATE": str(settings.state), "TRIAGE_CONFIG": str(settings.config)}


def open_database(settings: Settings) -> "Database":
    """Open the database; refuse a schema that is not this program's.

    The import is here because the listener, which is started through this module too, runs
    without a database.
    """
    from db import schema
    from db.engine import connect

    with _named_trouble():
        database = connect(settings.database_url)
        try:
            schema.require_head(database)
        except BaseException:
            database.dispose()
            raise
    return database


@contextmanager
def opened(settings: Settings) -> "Iterator[Database]":
    """Have the database open while one command runs."""
    database = open_database(settings)
    try:
        yield database
    finally:
        database.dispose()


def prepare(settings: Settings) -> None:
    """Make the state folder and bring its database up to date."""
    from db import schema

    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _named_trouble():
        schema.upgrade(settings.database_url)


@contextmanager
def _named_trouble() -> Iterator[None]:
    """Turn what a database says about itself into what to do; its words may hold a password."""
    from sqlalchemy.exc import SQLAlchemyError

    from db.schema import SchemaError

    try:
        yield
    except SchemaError as why:
        raise ConfigError(str(why)) from None
    except (SQLAlchemyError, ImportError, OSError) as why:
        msg = (
            f"cannot open the database ({type(why).__name__}); check database.url in site.yaml, "
            "and that its server runs"
        )
        raise ConfigError(msg) from None


def become(module: str, *arguments: str) -> None:
    """Replace this process by ``python -m module``."""
    sys.stdout.flush()
    command = [sys.executable, "-m", module, *arguments]
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter and module


def person() -> str:
    """Give who runs the command, for the audit: the process's user, whatever the environment says.

    A container may run under a number that has no name.
    """
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"


def utc(moment: datetime | None) -> datetime | None:
    """Give a moment that was typed without a zone as UTC."""
    return None if moment is None else moment.replace(tzinfo=UTC)


def print_json(data: object) -> None:
    """Print JSON on standard output."""
    sys.stdout.write(json.dumps(data, indent=2, default=str) + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a plain table on standard output; nothing of it is cut off, however narrow."""
    heads = (Column(name, overflow="fold") for name in columns)
    table = Table(*heads, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_COLUMNS)
    console.print(table)
