"""The views answer the usual questions; the roles keep the record from those who only use it."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db import audit, roles
from db.audit import MINOR, SUCCESS, Entry, Event
from db.engine import Database, now
from db.tables import StudyRow

ROWS = [
    (Event.INSTANCES_ACCESSED, "study.opened", "study", "1.2.3", SUCCESS),
    (Event.INSTANCES_TRANSFERRED, "instance.received", "study", "1.2.3", SUCCESS),
    (Event.INSTANCES_TRANSFERRED, "report.sent", "study", "1.2.3", SUCCESS),
    (Event.SECURITY_ALERT, "association.rejected", "association", "", MINOR),
    (Event.USER_AUTHENTICATION, "login.refused", "user", "1", MINOR),
    (Event.SECURITY_ALERT, "user.created", "user", "2", SUCCESS),
]
FITS = {
    "audit_who_saw_what": ["study.opened"],
    "audit_study_history": ["study.opened", "instance.received", "report.sent"],
    "audit_refused_associations": ["association.rejected"],
    "audit_logins": ["login.refused"],
    "audit_changes": ["user.created"],
    "audit_deliveries": ["report.sent"],
}


def fill(database: Database) -> None:
    with database.begin() as session:
        at = now(session)
        session.add(
            StudyRow(
                study_instance_uid="1.2.3", patient_id="P1", due_at=at, received_at=at,
                last_instance_at=at,
            )
        )  # fmt: skip
        for event, kind, of, what, outcome in ROWS:
            entry = Entry(
                event=event, kind=kind, outcome=outcome, actor="ada", object_type=of,
                object_id=what,
            )  # fmt: skip
            audit.record(session, entry)


@pytest.mark.parametrize("view", FITS)
def test_a_view_has_the_rows_of_its_question(database: Database, view: str) -> None:
    fill(database)
    with database.reading() as session:
        found = session.execute(text(f"SELECT what FROM {view} ORDER BY id")).scalars().all()
    assert found == FITS[view]


def test_who_saw_a_patient_is_one_question(database: Database) -> None:
    fill(database)
    question = text("SELECT actor FROM audit_who_saw_what WHERE patient_id = :id")
    with database.reading() as session:
        assert session.execute(question, {"id": "P1"}).scalars().all() == ["ada"]
        assert session.execute(question, {"id": "P2"}).scalars().all() == []


@pytest.fixture
def granted(postgres_database: Database) -> Database:
    """A database with both roles and some rows."""
    fill(postgres_database)
    with postgres_database.engine.begin() as connection:
        for role in ("t_program", "t_auditor"):
            connection.execute(
                text(
                    f"DO $$ BEGIN CREATE ROLE {role}; "
                    "EXCEPTION WHEN duplicate_object THEN NULL; END $$"
                )
            )
        assert roles.apply(connection, "t_program", "t_auditor") > 20
    return postgres_database


def attempt(database: Database, role: str, statement: str) -> None:
    with database.engine.begin() as connection:
        connection.execute(text(f"SET LOCAL ROLE {role}"))
        connection.execute(text(statement))


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("t_program", "UPDATE audit SET actor = 'nobody'"),
        ("t_program", "DELETE FROM audit"),
        ("t_program", "TRUNCATE audit_seal"),
        ("t_program", "DROP TABLE audit"),
        ("t_program", "ALTER TABLE audit DISABLE TRIGGER ALL"),
        ("t_auditor", "SELECT patient_name FROM study"),
        ("t_auditor", "SELECT * FROM user_account"),
        ("t_auditor", "INSERT INTO audit (actor) VALUES ('x')"),
        ("t_auditor", "DELETE FROM audit"),
    ],
)
def test_what_a_role_may_not_do_is_refused(granted: Database, role: str, statement: str) -> None:
    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
        attempt(granted, role, statement)


@pytest.mark.postgres
def test_what_a_role_needs_it_may(granted: Database) -> None:
    attempt(granted, "t_program", "UPDATE study SET priority = 1")
    attempt(
        granted, "t_program",
        "INSERT INTO audit (at, event_id, event_type, action, outcome, actor, actor_role, ae_title,"
        " network_address, object_type, object_id, detail)"
        " VALUES (now(), '110100', '', 'E', 0, 'x', '', '', '', '', '', '{}')",
    )  # fmt: skip
    attempt(granted, "t_auditor", "SELECT * FROM audit_logins")
    attempt(granted, "t_auditor", "SELECT count(*) FROM audit")
