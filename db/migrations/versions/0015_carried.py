"""The slices, and in research mode the regions, that carried a detection's score."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "carried_slice",
        sa.Column("detection_id", sa.Integer, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("p_value", sa.Double, nullable=False),
        sa.Column("top_px", sa.Integer),
        sa.Column("left_px", sa.Integer),
        sa.Column("bottom_px", sa.Integer),
        sa.Column("right_px", sa.Integer),
        sa.PrimaryKeyConstraint("detection_id", "place", name=op.f("pk_carried_slice")),
        sa.ForeignKeyConstraint(
            ["detection_id"],
            ["detection.id"],
            name=op.f("fk_carried_slice_detection_id_detection"),
        ),
    )


def downgrade() -> None:
    op.drop_table("carried_slice")
