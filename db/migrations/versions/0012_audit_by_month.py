"""The audit trail: a partition for each month on PostgreSQL, indexes for its questions on both.

A partitioned table's unique keys hold its month, so that an event's own number, which comes from
outside and is taken in once, goes into a table of its own, and a seal names its row without a
foreign key. On SQLite the trail stays one table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
MOVE_ROWS = """
INSERT INTO audit (id, at, event_id, event_type, action, outcome, actor, actor_role, ae_title,
                   network_address, object_type, object_id, detail, event_uid)
SELECT id, at, event_id, event_type, action, outcome, actor, actor_role, ae_title,
       network_address, object_type, object_id, detail, event_uid FROM audit_before
"""
MOVE_SEALS = """
INSERT INTO audit_seal (seq, audit_id, prev_hash, row_hash)
SELECT seq, audit_id, prev_hash, row_hash FROM audit_seal_before
"""
OLD_INDEXES = {"ix_audit_at": ["at"], "ix_audit_object": ["object_id", "id"]}
NEW_INDEXES = {
    "ix_audit_actor": ["actor", "id"],
    "ix_audit_event": ["event_id", "id"],
    "ix_audit_kind": ["event_type", "id"],
}
KIND_OPS = {"event_type": "text_pattern_ops"}
"""For questions by the beginning of a word, whatever the database's locale."""
MAKE_MONTHS = """
SELECT make_audit_month(month) FROM (
    SELECT DISTINCT date_trunc('month', at AT TIME ZONE 'UTC')::date AS month
    FROM audit_before WHERE at < now()
    UNION SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') + ahead * interval '1 month')::date
    FROM generate_series(0, 3) AS ahead
) AS months ORDER BY month
"""
"""Those of the rows that there are, this one, and three more."""

MAKE_MONTH = """
CREATE FUNCTION make_audit_month(day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    month timestamp := date_trunc('month', day::timestamp);
    begins timestamptz := month AT TIME ZONE 'UTC';
    ends timestamptz := (month + interval '1 month') AT TIME ZONE 'UTC';
    part text := 'audit_' || to_char(month, 'YYYY_MM');
BEGIN
    IF day IS NULL OR begins > now() + interval '13 months' THEN
        RAISE EXCEPTION 'a month so far ahead is not made';
    END IF;
    PERFORM pg_advisory_xact_lock(7020395);
    IF to_regclass('public.' || part) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE audit INCLUDING ALL)', part);
    EXECUTE format('CREATE TRIGGER audit_month_refuses_truncate BEFORE TRUNCATE ON %I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', part);
    IF EXISTS (SELECT FROM audit_rest WHERE at >= begins AND at < ends) THEN
        -- Out of the trail, the triggers of its rows do not hold: nobody sees the table meanwhile.
        ALTER TABLE audit DETACH PARTITION audit_rest;
        EXECUTE format('INSERT INTO %I SELECT * FROM audit_rest WHERE at >= $1 AND at < $2', part)
            USING begins, ends;
        DELETE FROM audit_rest WHERE at >= begins AND at < ends;
        ALTER TABLE audit ATTACH PARTITION audit_rest DEFAULT;
    END IF;
    EXECUTE format('ALTER TABLE audit ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   part, begins, ends);
    RETURN true;
END $$
"""
"""Runs as the owner: the program's role may have a month made, and owns no table."""


def upgrade() -> None:
    views = _take_views()
    _once()
    if _is_postgresql():
        _partition()
    else:
        _rebuild_sqlite(with_keys=False)
    for name, columns in NEW_INDEXES.items():
        op.create_index(
            name, "audit", columns, postgresql_ops=KIND_OPS if "event_type" in columns else {}
        )
    _put_views(views)


def downgrade() -> None:
    views = _take_views()
    if _is_postgresql():
        _join()
    else:
        _rebuild_sqlite(with_keys=True)
    op.drop_table("audit_once")
    _put_views(views)


def _is_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


def _once() -> None:
    op.create_table(
        "audit_once",
        sa.Column("event_uid", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("event_uid", name=op.f("pk_audit_once")),
    )
    op.execute("INSERT INTO audit_once SELECT event_uid FROM audit WHERE event_uid IS NOT NULL")
    for verb, events in (("update", "UPDATE"), ("delete", "DELETE OR TRUNCATE")):
        if _is_postgresql():
            _guard("audit_once", verb, events)
        else:
            _guard_sqlite("audit_once", verb)


def _columns(number: type[sa.types.TypeEngine[int]]) -> list[sa.Column[object]]:
    named: list[sa.Column[object]] = [
        sa.Column("id", number, nullable=False, autoincrement=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("event_id", sa.String(16), nullable=False),
        sa.Column("event_type", sa.String(64), nullable=False),
        sa.Column("action", sa.String(1), nullable=False),
        sa.Column("outcome", sa.Integer, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("actor_role", sa.String(32), nullable=False),
        sa.Column("ae_title", sa.String(16), nullable=False),
        sa.Column("network_address", sa.Text, nullable=False),
        sa.Column("object_type", sa.String(32), nullable=False),
        sa.Column("object_id", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("event_uid", sa.String(36)),
    ]
    return named


# PostgreSQL


def _partition() -> None:
    """Make the trail anew by month, and move its rows."""
    granted = _grants("audit")
    op.drop_constraint("fk_audit_seal_audit_id_audit", "audit_seal")
    op.execute("ALTER TABLE audit_seal ALTER seq TYPE bigint, ALTER audit_id TYPE bigint")
    _set_aside()
    op.execute("ALTER SEQUENCE audit_id_seq AS bigint")
    op.create_table(
        "audit", *_columns(sa.BigInteger), sa.PrimaryKeyConstraint("id", "at", name="pk_audit"),
        postgresql_partition_by="RANGE (at)",
    )  # fmt: skip
    _take_sequence()
    for name, columns in OLD_INDEXES.items():
        op.create_index(name, "audit", columns)
    for verb, events in (("update", "UPDATE"), ("delete", "DELETE OR TRUNCATE")):
        _guard("audit", verb, events)
    # A statement on one month alone meets that month's triggers only: rows carry theirs there.
    op.execute(
        "CREATE TRIGGER audit_row_refuses_change BEFORE UPDATE OR DELETE ON audit "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute("CREATE TABLE audit_rest PARTITION OF audit DEFAULT")
    op.execute(
        "CREATE TRIGGER audit_month_refuses_truncate BEFORE TRUNCATE ON audit_rest "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.execute(MAKE_MONTH)
    op.execute("REVOKE ALL ON FUNCTION make_audit_month(date) FROM PUBLIC")
    op.execute(MAKE_MONTHS)
    _fill()
    _grant(granted)


def _join() -> None:
    """Make the trail one table again."""
    granted = _grants("audit")
    op.execute("DROP FUNCTION make_audit_month(date)")
    _set_aside()
    op.create_table(
        "audit", *_columns(sa.Integer), sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sa.UniqueConstraint("event_uid", name="uq_audit_event_uid"),
    )  # fmt: skip
    _take_sequence()
    for name, columns in OLD_INDEXES.items():
        op.create_index(name, "audit", columns)
    for verb, events in (("update", "UPDATE"), ("delete", "DELETE OR TRUNCATE")):
        _guard("audit", verb, events)
    _fill()
    op.execute("ALTER SEQUENCE audit_id_seq AS integer")
    op.execute("ALTER TABLE audit_seal ALTER seq TYPE integer, ALTER audit_id TYPE integer")
    op.execute(  # rows that were retired leave seals behind
        "ALTER TABLE audit_seal ADD CONSTRAINT fk_audit_seal_audit_id_audit"
        " FOREIGN KEY (audit_id) REFERENCES audit (id) NOT VALID"
    )
    _grant(granted)


def _set_aside() -> None:
    """Take the old table's name, sequence, keys and indexes from it."""
    op.execute("ALTER TABLE audit ALTER id DROP DEFAULT")
    op.execute("ALTER SEQUENCE audit_id_seq OWNED BY NONE")
    op.execute("ALTER TABLE audit DROP CONSTRAINT pk_audit")
    op.execute("ALTER TABLE audit DROP CONSTRAINT IF EXISTS uq_audit_event_uid")
    for name in (*OLD_INDEXES, *NEW_INDEXES):
        op.execute(f"DROP INDEX IF EXISTS {name}")
    op.execute("ALTER TABLE audit RENAME TO audit_before")


def _take_sequence() -> None:
    op.execute("ALTER TABLE audit ALTER id SET DEFAULT nextval('audit_id_seq')")
    op.execute("ALTER SEQUENCE audit_id_seq OWNED BY audit.id")


def _fill() -> None:
    op.execute(MOVE_ROWS)
    op.execute("DROP TABLE audit_before")


def _guard(table: str, verb: str, events: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_refuses_{verb} BEFORE {events} ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def _grants(*names: str) -> list[str]:
    """Give the statements that give others than the owner what they have now."""
    asked = sa.text(
        "SELECT format('GRANT %s ON %I TO %s', acl.privilege_type, found.relname,"
        "       CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(role.rolname) END)"
        "  FROM pg_class AS found CROSS JOIN aclexplode(found.relacl) AS acl"
        "  LEFT JOIN pg_roles AS role ON role.oid = acl.grantee"
        " WHERE found.oid = to_regclass(:name) AND acl.grantee <> found.relowner"
    )
    bind = op.get_bind()
    return [one for name in names for one in bind.execute(asked, {"name": name}).scalars()]


def _grant(statements: list[str]) -> None:
    for one in statements:
        op.execute(one)


# SQLite


def _rebuild_sqlite(*, with_keys: bool) -> None:
    """Copy both tables into new ones: SQLite drops no constraint of a table."""
    for name in (*OLD_INDEXES, *NEW_INDEXES):
        op.execute(f"DROP INDEX IF EXISTS {name}")
    for table in ("audit", "audit_seal"):
        for verb in ("update", "delete"):
            op.execute(f"DROP TRIGGER {table}_refuses_{verb}")
        op.execute(f"ALTER TABLE {table} RENAME TO {table}_before")
    unique = [sa.UniqueConstraint("event_uid", name="uq_audit_event_uid")] if with_keys else []
    op.create_table(
        "audit", *_columns(sa.Integer), sa.PrimaryKeyConstraint("id", name="pk_audit"), *unique
    )
    op.execute(MOVE_ROWS)
    _seals_sqlite(with_keys=with_keys)
    op.drop_table("audit_seal_before")
    op.drop_table("audit_before")
    for name, columns in OLD_INDEXES.items():
        op.create_index(name, "audit", columns)
    for table in ("audit", "audit_seal"):
        for verb in ("update", "delete"):
            _guard_sqlite(table, verb)


def _seals_sqlite(*, with_keys: bool) -> None:
    foreign = sa.ForeignKeyConstraint(
        ["audit_id"], ["audit.id"], name="fk_audit_seal_audit_id_audit"
    )
    op.create_table(
        "audit_seal",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("audit_id", sa.Integer, nullable=False),
        sa.Column("prev_hash", sa.String(64), nullable=False),
        sa.Column("row_hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_seal"),
        *([foreign] if with_keys else []),
        sa.UniqueConstraint("audit_id", name="uq_audit_seal_audit_id"),
    )
    op.execute(MOVE_SEALS)


def _guard_sqlite(table: str, verb: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_refuses_{verb} BEFORE {verb.upper()} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )


# views, on both


def _take_views() -> list[str]:
    """Drop the views of the trail; gives the statements that make them again."""
    bind = op.get_bind()
    asked = (
        "SELECT viewname, 'CREATE VIEW ' || viewname || ' AS ' || definition FROM pg_views"
        " WHERE schemaname = 'public' AND viewname LIKE 'audit\\_%' ORDER BY viewname"
        if _is_postgresql()
        else "SELECT name, sql FROM sqlite_master WHERE type = 'view' AND name LIKE 'audit_%'"
    )
    found = bind.execute(sa.text(asked)).all()
    granted = _grants(*(name for name, _ in found)) if _is_postgresql() else []
    for name, _ in found:
        op.execute(f"DROP VIEW {name}")
    return [*(statement for _, statement in found), *granted]


def _put_views(statements: list[str]) -> None:
    for one in statements:
        op.execute(one)
