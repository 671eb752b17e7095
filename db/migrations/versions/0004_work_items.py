"""Work items: those we manage, who watches them, and our claims on other managers' items."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _workitem()
    _subscription()
    _notice()
    _claim()
    _token()


def downgrade() -> None:
    for table in ("api_token", "ups_claim", "ups_notice", "ups_subscription", "ups_workitem"):
        op.drop_table(table)


def _workitem() -> None:
    op.create_table(
        "ups_workitem",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("transaction_uid", sa.String(64)),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ups_workitem"),
        sa.UniqueConstraint("sop_instance_uid", name="uq_ups_workitem_sop_instance_uid"),
    )
    op.create_index("ix_ups_workitem_state", "ups_workitem", ["state", "id"])


def _subscription() -> None:
    op.create_table(
        "ups_subscription",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("ae_title", sa.String(16), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("deletion_lock", sa.Boolean, nullable=False),
        sa.Column("keys", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ups_subscription"),
        sa.UniqueConstraint(
            "ae_title", "sop_instance_uid", name="uq_ups_subscription_ae_title_sop_instance_uid"
        ),
    )
    op.create_index(
        "ix_ups_subscription_sop_instance_uid", "ups_subscription", ["sop_instance_uid"]
    )


def _notice() -> None:
    op.create_table(
        "ups_notice",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("ae_title", sa.String(16), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("event_type", sa.Integer, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("sent_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_ups_notice"),
    )
    op.create_index("ix_ups_notice_waiting", "ups_notice", ["ae_title", "sent_at", "id"])


def _claim() -> None:
    op.create_table(
        "ups_claim",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("manager", sa.Text, nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("transaction_uid", sa.String(64), nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("told", sa.Text, nullable=False),
        sa.Column("cancel_asked", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("leased_until", MOMENT),
        sa.Column("leased_by", sa.String(128)),
        sa.Column("started_at", MOMENT),
        sa.Column("settled_at", MOMENT),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name="fk_ups_claim_study_id_study"),
        sa.PrimaryKeyConstraint("id", name="pk_ups_claim"),
        sa.UniqueConstraint(
            "manager", "sop_instance_uid", name="uq_ups_claim_manager_sop_instance_uid"
        ),
        sa.UniqueConstraint("transaction_uid", name="uq_ups_claim_transaction_uid"),
    )
    op.create_index("ix_ups_claim_work", "ups_claim", ["state", "due_at"])


def _token() -> None:
    op.create_table(
        "api_token",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("revoked_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_api_token"),
        sa.UniqueConstraint("name", name="uq_api_token_name"),
        sa.UniqueConstraint("token_sha256", name="uq_api_token_token_sha256"),
    )
