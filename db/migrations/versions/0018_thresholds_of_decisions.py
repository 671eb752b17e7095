"""Thresholds beside the decision that they made: policies change, what was decided stays."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("decision", sa.Column("thresholds", sa.Text))


def downgrade() -> None:
    op.drop_column("decision", "thresholds")
