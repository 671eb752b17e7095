"""Whether a column is one of many numbers that a statement is given.

To PostgreSQL they go as a single array: fifty placeholders take longer to write, to send and to
parse than the statement takes to run, and each count of them would be a statement of its own.
SQLite has no arrays, and plans worse for a list of which it cannot see the length.
"""

from typing import Any

from sqlalchemy import Boolean, ColumnElement, Integer, bindparam
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class Among(FunctionElement[bool]):
    """A condition: a column's value is among the numbers that a parameter holds."""

    type = Boolean()
    inherit_cache = True


def among(column: InstrumentedAttribute[int], name: str) -> ColumnElement[bool]:
    """Ask for the rows whose column is among the numbers given as ``name`` at execution."""
    return Among(column, bindparam(name, type_=ARRAY(Integer())))


@compiles(Among, "postgresql")
def _any(element: Among, compiler: SQLCompiler, **given: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    column, numbers = (compiler.process(one, **given) for one in element.clauses)
    return f"{column} = ANY ({numbers})"


@compiles(Among, "sqlite")
def _listed(element: Among, compiler: SQLCompiler, **given: Any) -> str:  # noqa: ANN401 - as above
    column, numbers = element.clauses
    each = bindparam(numbers.key, type_=Integer(), expanding=True)
    return compiler.process(column.in_(each), **given)
