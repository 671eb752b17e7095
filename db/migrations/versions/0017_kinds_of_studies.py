"""An index over modality and body part together: few studies of one may be of the other."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

COLUMNS = ["modality", "body_part", "priority", "received_at", "id", "source_ae_title"]


def upgrade() -> None:
    op.create_index("ix_study_kind", "study", COLUMNS)


def downgrade() -> None:
    op.drop_index("ix_study_kind", "study")
