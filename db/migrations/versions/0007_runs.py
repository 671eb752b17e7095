"""Detectors that gave no result, and which map belongs to which detection."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "refusal",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("detector", sa.Text, nullable=False),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refusal")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_refusal_study_id_study")),
        sa.UniqueConstraint(
            "study_id", "generation", "detector", "series_instance_uid", name="uq_refusal"
        ),
    )
    op.create_table(
        "detection_map",
        sa.Column("detection_id", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("detection_id", name=op.f("pk_detection_map")),
        sa.ForeignKeyConstraint(
            ["detection_id"], ["detection.id"], name=op.f("fk_detection_map_detection_id_detection")
        ),
    )


def downgrade() -> None:
    op.drop_table("detection_map")
    op.drop_table("refusal")
