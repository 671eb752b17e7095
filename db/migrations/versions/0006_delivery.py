"""Outbox rows are leased on their own; commitments, capabilities and withdrawals."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
LEASE = ("due_at", "leased_until", "leased_by", "fence", "tries", "in_doubt", "commitment",
         "committed_at")  # fmt: skip


def upgrade() -> None:
    for column in (
        sa.Column("due_at", MOMENT),
        sa.Column("leased_until", MOMENT),
        sa.Column("leased_by", sa.String(128)),
        sa.Column("fence", sa.Integer, nullable=False, server_default="0"),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("in_doubt", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("commitment", sa.String(16)),
        sa.Column("committed_at", MOMENT),
    ):
        op.add_column("outbox", column)
    op.execute("UPDATE outbox SET due_at = built_at WHERE state = 'queued'")
    op.create_index("ix_outbox_work", "outbox", ["destination", "due_at"])
    op.create_index("ix_outbox_state", "outbox", ["state"])
    _commitment()
    _capability()
    _withdrawal()


def downgrade() -> None:
    for table in ("withdrawal", "capability", "commitment"):
        op.drop_table(table)
    op.drop_index("ix_outbox_state", "outbox")
    op.drop_index("ix_outbox_work", "outbox")
    for name in reversed(LEASE):
        op.drop_column("outbox", name)


def _commitment() -> None:
    op.create_table(
        "commitment",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("outbox_id", sa.Integer, nullable=False),
        sa.Column("transaction_uid", sa.String(64), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("failure_reason", sa.Integer),
        sa.Column("reported_at", MOMENT),
        sa.ForeignKeyConstraint(
            ["outbox_id"], ["outbox.id"], name=op.f("fk_commitment_outbox_id_outbox")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment")),
        sa.UniqueConstraint(
            "transaction_uid", "outbox_id", name=op.f("uq_commitment_transaction_uid_outbox_id")
        ),
    )
    op.create_index(op.f("ix_commitment_outbox_id"), "commitment", ["outbox_id"])


def _capability() -> None:
    op.create_table(
        "capability",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("service", sa.String(16), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(64), nullable=False),
        sa.Column("accepted", sa.Boolean, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("checked_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_capability")),
        sa.UniqueConstraint(
            "destination", "service", "sop_class_uid", "transfer_syntax_uid", name="uq_capability"
        ),
    )


def _withdrawal() -> None:
    op.create_table(
        "withdrawal",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("note_sop_instance_uid", sa.String(64)),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_withdrawal_study_id_study")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_withdrawal")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_withdrawal_sop_instance_uid")),
    )
    op.create_index(op.f("ix_withdrawal_study_id"), "withdrawal", ["study_id"])
