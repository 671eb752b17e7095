"""The worklist: opened and unread, claims, saved lists, filters, and search in any part of a word.

Search reads trigrams: on SQLite an FTS5 table beside ``study``, kept current by triggers; on
PostgreSQL a GIN index of pg_trgm, an extension that a database's owner may add.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
PLACE = ("priority", "received_at", "id")
FILTERS = ("modality", "body_part", "source_ae_title")
TEXTS = ("patient_name", "patient_id", "accession_number", "study_description")
JOINED = " || chr(10) || ".join(TEXTS)
TRIGGERS = ("study_text_takes", "study_text_drops", "study_text_follows")


def upgrade() -> None:
    op.add_column("study", sa.Column("opened_at", MOMENT))
    op.create_index("ix_study_opened", "study", ["opened_at"])
    unread = sa.text("opened_at IS NULL")
    op.create_index(
        "ix_study_unread", "study", [*PLACE, *FILTERS],
        sqlite_where=unread, postgresql_where=unread,
    )  # fmt: skip
    for name in FILTERS:
        columns = [name, *PLACE, *(one for one in FILTERS if one != name)]
        op.create_index(f"ix_study_{name}", "study", columns)
    _claims()
    _saved_lists()
    if op.get_context().dialect.name == "postgresql":
        _reopen_postgresql()
        op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        op.execute(f"CREATE INDEX ix_study_text ON study USING gin (({JOINED}) gin_trgm_ops)")
    else:
        _reopen_sqlite()
        _index_sqlite()


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP INDEX ix_study_text")
        # Somebody else's index may need it too.
        op.execute(
            "DO $$ BEGIN DROP EXTENSION IF EXISTS pg_trgm; "
            "EXCEPTION WHEN dependent_objects_still_exist THEN NULL; END $$"
        )
        op.execute("DROP TRIGGER study_becomes_unread ON study")
        op.execute("DROP FUNCTION become_unread()")
    else:
        for name in (*TRIGGERS, "study_becomes_unread"):
            op.execute(f"DROP TRIGGER {name}")
        op.execute("DROP TABLE study_text")
    op.drop_table("saved_list")
    op.drop_table("reader_claim")
    for name in (*FILTERS, "unread", "opened"):
        op.drop_index(f"ix_study_{name}", "study")
    op.drop_column("study", "opened_at")


def _claims() -> None:
    op.create_table(
        "reader_claim",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("claimed_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Column("ended_by", sa.String(16), nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reader_claim")),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_reader_claim_study_id_study")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_reader_claim_user_id_user_account")
        ),
    )
    open_ones = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_reader_claim_open", "reader_claim", ["study_id"], unique=True,
        sqlite_where=open_ones, postgresql_where=open_ones,
    )  # fmt: skip
    op.create_index("ix_reader_claim_mine", "reader_claim", ["user_id", "ended_at"])
    op.create_index("ix_reader_claim_changed", "reader_claim", ["changed_at"])


def _saved_lists() -> None:
    op.create_table(
        "saved_list",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_list")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_saved_list_user_id_user_account")
        ),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_saved_list_user_id_name")),
    )


def _reopen_sqlite() -> None:
    op.execute(
        """
        CREATE TRIGGER study_becomes_unread AFTER UPDATE OF outcome, generation ON study
        WHEN NEW.opened_at IS NOT NULL
             AND (OLD.outcome <> NEW.outcome OR OLD.generation <> NEW.generation)
        BEGIN UPDATE study SET opened_at = NULL WHERE id = NEW.id; END
        """
    )


def _reopen_postgresql() -> None:
    op.execute(
        """
        CREATE FUNCTION become_unread() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.opened_at := NULL; RETURN NEW; END $$
        """
    )
    op.execute(
        "CREATE TRIGGER study_becomes_unread BEFORE UPDATE OF outcome, generation ON study "
        "FOR EACH ROW WHEN (OLD.outcome <> NEW.outcome OR OLD.generation <> NEW.generation) "
        "EXECUTE FUNCTION become_unread()"
    )


def _index_sqlite() -> None:
    """Index what is there, then have triggers follow (FTS5, "external content tables")."""
    columns = ", ".join(TEXTS)
    old = ", ".join(f"OLD.{one}" for one in TEXTS)
    new = ", ".join(f"NEW.{one}" for one in TEXTS)
    changed = " OR ".join(f"OLD.{one} <> NEW.{one}" for one in TEXTS)
    drop = (
        f"INSERT INTO study_text (study_text, rowid, {columns})"  # noqa: S608 - names from above
        f" VALUES ('delete', OLD.id, {old});"
    )
    take = (
        f"INSERT INTO study_text (rowid, {columns})"  # noqa: S608 - names from above
        f" VALUES (NEW.id, {new});"
    )
    op.execute(
        f"CREATE VIRTUAL TABLE study_text USING fts5({columns}, content='study',"
        " content_rowid='id', tokenize='trigram')"
    )
    op.execute("INSERT INTO study_text (study_text) VALUES ('rebuild')")
    op.execute(f"CREATE TRIGGER study_text_takes AFTER INSERT ON study BEGIN {take} END")
    op.execute(f"CREATE TRIGGER study_text_drops AFTER DELETE ON study BEGIN {drop} END")
    op.execute(
        f"CREATE TRIGGER study_text_follows AFTER UPDATE OF {columns} ON study "
        f"WHEN {changed} BEGIN {drop} {take} END"
    )
