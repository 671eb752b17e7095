"""Insert rows unless their keys are already there, on both databases."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.base import Base


def insert_once(session: Session, row: type[Base], values: Mapping[str, Any]) -> None:
    """Insert ``values``; a row with the same unique key stays as it is."""
    insert_all_once(session, row, [values])


def insert_all_once(session: Session, row: type[Base], many: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of the same columns; those with a known unique key stay as they are."""
    if not many:
        return
    table = row.__table__
    assert isinstance(table, Table)  # noqa: S101 - every mapped class here is one table
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    session.execute(insert(table).on_conflict_do_nothing(), [dict(one) for one in many])
