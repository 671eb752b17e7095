"""Alembic's environment. ``db.schema`` hands it a connection; the command line hands it a URL.

Developing: ``alembic -x url=sqlite:////tmp/dev.sqlite revision --autogenerate -m "Add a column"``.
"""

from alembic import context
from sqlalchemy import Connection

from db import tables
from db.base import Base
from db.engine import connect
from db.schema import besides_months

assert tables.StudyRow.__table__ in Base.metadata.sorted_tables  # noqa: S101 - importing fills it


def _migrate(connection: Connection) -> None:
    # SQLite too runs DDL in a transaction here, because db.engine emits BEGIN itself.
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        compare_server_default=True,
        transactional_ddl=True,
        include_name=besides_months(connection),
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


def _from_command_line() -> None:
    url = context.get_x_argument(as_dictionary=True).get("url")
    if not url:
        msg = "name the database: alembic -x url=sqlite:////tmp/dev.sqlite ..."
        raise SystemExit(msg)
    database = connect(url)
    try:
        with database.engine.begin() as connection:
            _migrate(connection)
    finally:
        database.dispose()


given = context.config.attributes.get("connection")
if given is None:
    _from_command_line()
else:
    _migrate(given)
