"""Promises by the instance: retention asks of each study whether we promised to keep any of it."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_promise_sop_instance_uid", "promise", ["sop_instance_uid"])


def downgrade() -> None:
    op.drop_index("ix_promise_sop_instance_uid", "promise")
