"""No effect without its audit row, whatever the effect; and a row for every reception."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from db.engine import Database
from db.tables import AuditRow, InstanceRow, SessionRow, StudyRow, UserRow
from tests.builders import dx, spooled
from triage.ingest import ingest_all
from triage.settings import Completeness, Web
from triage.spool import Spool
from triage.worklist import auth, sessions

RULES = Completeness(quiet_s=5)


@contextmanager
def full(database: Database) -> Iterator[None]:
    """Have the database refuse every audit row, as a full disk would."""
    sqlite = database.engine.dialect.name == "sqlite"
    make = (
        "CREATE TRIGGER full_disk BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END"
        if sqlite
        else "CREATE TRIGGER full_disk BEFORE INSERT ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    with database.begin() as session:
        session.execute(text(make))
    try:
        yield
    finally:
        with database.begin() as session:
            session.execute(text(f"DROP TRIGGER full_disk{'' if sqlite else ' ON audit'}"))


def count(database: Database, table: type) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_an_instance_that_cannot_be_audited_is_not_indexed_and_not_lost(
    database: Database, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "spool")
    spooled(spool, dx())
    with full(database), pytest.raises(DBAPIError):
        ingest_all(database, spool, RULES)
    assert (count(database, InstanceRow), count(database, StudyRow)) == (0, 0)
    assert len(spool.incoming(10)) == 1
    assert ingest_all(database, spool, RULES) == 1
    assert (count(database, InstanceRow), count(database, AuditRow)) == (1, 1)


def test_nobody_signs_in_and_no_account_is_made_unaudited(database: Database) -> None:
    with full(database):
        with pytest.raises(DBAPIError), database.begin() as session:
            auth.create_user(session, "ada", "a long passphrase", "admin")
        assert count(database, UserRow) == 0
    with database.begin() as session:
        auth.create_user(session, "ada", "a long passphrase", "admin")
    with full(database), pytest.raises(DBAPIError):
        sessions.sign_in(database, Web(), "ada", "a long passphrase", "10.0.0.7")
    assert count(database, SessionRow) == 0


def test_every_instance_that_was_acknowledged_has_its_row_of_reception(
    database: Database, tmp_path: Path
) -> None:
    """New ones, the same again, and what nobody can read."""
    spool = Spool(tmp_path / "spool")
    for seed in range(4):
        spooled(spool, dx(seed=seed))
    spooled(spool, dx(seed=0))
    spool.write(b"\0" * 128, b"DICM", b"nonsense")
    acknowledged = len(spool.incoming(10))
    assert acknowledged == 6
    assert ingest_all(database, spool, RULES) == acknowledged
    with database.reading() as session:
        kinds = sorted(session.scalars(select(AuditRow.event_type)))
    of_reception = [one for one in kinds if one.startswith("instance.")]
    assert len(of_reception) == acknowledged
    assert of_reception.count("instance.quarantined") == 1
