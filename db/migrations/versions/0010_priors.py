"""Priors: older studies of a patient, fetched for comparison."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "prior_search",
        sa.Column("study_id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("found", sa.String(16), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True)),
        sa.Column("leased_by", sa.String(128)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_prior_search")),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_prior_search_study_id_study")
        ),
    )
    op.create_index("ix_prior_search_work", "prior_search", ["state", "due_at"])
    op.create_table(
        "prior",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("source_ae_title", sa.String(16), nullable=False),
        sa.Column("method", sa.String(8), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason_code", sa.String(32), nullable=False),
        sa.Column("study_date", sa.Text, nullable=False),
        sa.Column("modality", sa.Text, nullable=False),
        sa.Column("body_part", sa.Text, nullable=False),
        sa.Column("study_description", sa.Text, nullable=False),
        sa.Column("expected_count", sa.Integer, nullable=False),
        sa.Column("instance_count", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("open_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prior")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_prior_study_id_study")),
        sa.UniqueConstraint(
            "study_id", "study_instance_uid", name=op.f("uq_prior_study_id_study_instance_uid")
        ),
    )
    op.create_index("ix_prior_uid", "prior", ["study_instance_uid"])
    op.create_table(
        "prior_instance",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("prior_id", sa.Integer, nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(64), nullable=False),
        sa.Column("modality", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prior_instance")),
        sa.ForeignKeyConstraint(
            ["prior_id"], ["prior.id"], name=op.f("fk_prior_instance_prior_id_prior")
        ),
        sa.UniqueConstraint(
            "prior_id", "sop_instance_uid", name=op.f("uq_prior_instance_prior_id_sop_instance_uid")
        ),
    )
    op.create_index(
        op.f("ix_prior_instance_sop_instance_uid"), "prior_instance", ["sop_instance_uid"]
    )
    op.create_index(op.f("ix_prior_instance_sha256"), "prior_instance", ["sha256"])
    op.create_table(
        "prior_request",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prior_request")),
    )
    op.create_index("ix_prior_request_budget", "prior_request", ["source", "at"])


def downgrade() -> None:
    for table in ("prior_request", "prior_instance", "prior", "prior_search"):
        op.drop_table(table)
