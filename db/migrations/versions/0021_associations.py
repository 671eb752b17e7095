"""Associations: what each was told is safe, held against what of it arrived."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "association",
        sa.Column("association_id", sa.String(32), nullable=False),
        sa.Column("ae_title", sa.String(16), nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("accepted", sa.Integer),
        sa.Column("arrived", sa.Integer, nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("association_id", name="pk_association"),
    )
    op.create_index("ix_association_noted_at", "association", ["noted_at"])


def downgrade() -> None:
    op.drop_table("association")
