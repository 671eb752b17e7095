"""What detectors said beside their score, and what a person is warned of."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "detection_reading",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("detection_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("word", sa.Text, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("header", sa.Text, nullable=False),
        sa.Column("header_value", sa.Double),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_detection_reading")),
        sa.ForeignKeyConstraint(
            ["detection_id"],
            ["detection.id"],
            name=op.f("fk_detection_reading_detection_id_detection"),
        ),
        sa.UniqueConstraint(
            "detection_id", "kind", "word", name=op.f("uq_detection_reading_detection_id_kind_word")
        ),
    )
    op.create_table(
        "study_warning",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("detector", sa.Text, nullable=False),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study_warning")),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_study_warning_study_id_study")
        ),
        sa.UniqueConstraint(
            "study_id",
            "generation",
            "code",
            "detector",
            "series_instance_uid",
            name="uq_study_warning",
        ),
    )


def downgrade() -> None:
    op.drop_table("study_warning")
    op.drop_table("detection_reading")
