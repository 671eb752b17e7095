"""Triggers that keep the record append-only.

The rows of ``audit``, ``audit_seal`` and ``transition`` can be neither changed nor deleted, and a
study's state changes only after the transition that says why was written. Whoever owns the
database can drop the triggers: they catch our own mistakes; the chain of seals catches people.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

APPEND_ONLY = ("audit", "audit_seal", "transition")


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def downgrade() -> None:
    on = {
        f"{table}_refuses_{verb}": table for table in APPEND_ONLY for verb in ("update", "delete")
    }
    postgresql = op.get_context().dialect.name == "postgresql"
    for trigger, table in {**on, "study_refuses_unnoted_state": "study"}.items():
        op.execute(
            f"DROP TRIGGER {trigger} ON {table}" if postgresql else f"DROP TRIGGER {trigger}"
        )
    if postgresql:
        op.execute("DROP FUNCTION refuse_change()")
        op.execute("DROP FUNCTION refuse_unnoted_state()")


def _guard_sqlite() -> None:
    for table in APPEND_ONLY:
        for verb in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{verb} BEFORE {verb.upper()} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    op.execute(
        """
        CREATE TRIGGER study_refuses_unnoted_state BEFORE UPDATE OF state ON study
        WHEN OLD.state <> NEW.state AND NOT EXISTS (
            SELECT 1 FROM (
                SELECT t.old AS was, t.new AS becomes FROM transition AS t
                WHERE t.study_id = OLD.id AND t.old <> t.new ORDER BY t.id DESC LIMIT 1
            ) AS latest
            WHERE latest.was = OLD.state AND latest.becomes = NEW.state
        )
        BEGIN SELECT RAISE(ABORT, 'a study changed its state without a transition'); END
        """
    )


def _guard_postgresql() -> None:
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
        END $$
        """
    )
    for table in APPEND_ONLY:
        for verb, events in (("update", "UPDATE"), ("delete", "DELETE OR TRUNCATE")):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{verb} BEFORE {events} ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
            )
    op.execute(
        """
        CREATE FUNCTION refuse_unnoted_state() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE latest record;
        BEGIN
            SELECT t.old AS was, t.new AS becomes INTO latest FROM transition AS t
            WHERE t.study_id = OLD.id AND t.old <> t.new ORDER BY t.id DESC LIMIT 1;
            IF (latest.was, latest.becomes) IS DISTINCT FROM (OLD.state, NEW.state) THEN
                RAISE EXCEPTION 'a study changed its state without a transition'
                USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER study_refuses_unnoted_state BEFORE UPDATE OF state ON study "
        "FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) "
        "EXECUTE FUNCTION refuse_unnoted_state()"
    )
