"""What readers say about findings: append-only."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
VERBS = {"update": "UPDATE", "delete": "DELETE OR TRUNCATE"}


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("subject", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("reader", sa.String(64), nullable=False),
        sa.Column("reader_role", sa.String(32), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("reason_code", sa.String(32)),
        sa.Column("detection_id", sa.Integer),
        sa.Column("detector", sa.Text, nullable=False),
        sa.Column("tracking_uid", sa.String(64), nullable=False),
        sa.Column("report_sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name="fk_feedback_study_id_study"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name="fk_feedback_user_id_user_account"
        ),
        sa.ForeignKeyConstraint(
            ["detection_id"], ["detection.id"], name="fk_feedback_detection_id_detection"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_feedback"),
        sa.UniqueConstraint(
            "study_id", "generation", "subject", "user_id", "number",
            name="uq_feedback_study_id_generation_subject_user_id_number",
        ),
    )  # fmt: skip
    op.create_index("ix_feedback_at", "feedback", ["at"])
    for verb, events in VERBS.items():
        if op.get_context().dialect.name == "postgresql":
            op.execute(
                f"CREATE TRIGGER feedback_refuses_{verb} BEFORE {events} ON feedback "
                "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
            )
        else:
            op.execute(
                f"CREATE TRIGGER feedback_refuses_{verb} BEFORE {verb.upper()} ON feedback "
                "BEGIN SELECT RAISE(ABORT, 'feedback is append-only'); END"
            )


def downgrade() -> None:
    op.drop_table("feedback")
