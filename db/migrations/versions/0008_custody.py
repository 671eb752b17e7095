"""What became of every instance, conflicts of identity, and the nightly sum.

Instances of studies that were closed before are "unrecorded": which of them were analysed was not
written down then.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KNOWN_BEFORE = """
INSERT INTO custody (
    instance_id, association_id, called_ae_title, pixel_sha256, patient_id, issuer_of_patient_id,
    patient_name, patient_birth_date, patient_sex, fate, fate_code, fate_detail, set_aside
)
SELECT i.id, '', '', '', s.patient_id, s.issuer_of_patient_id, s.patient_name,
    s.patient_birth_date, s.patient_sex,
    CASE WHEN s.generation > 0 THEN 'unrecorded' ELSE 'open' END, '', '', :no
FROM instance AS i JOIN study AS s ON s.id = i.study_id
"""
HELD_BEFORE = """
INSERT INTO conflict (
    study_id, code, weight, detail, subject, generation, opened_at, opened_by, resolved_by,
    resolution, reason
)
SELECT s.id, COALESCE(s.reason_code, 'identity-conflict'), 'hold', COALESCE(s.reason_detail, ''),
    CASE WHEN s.reason_code = 'content-conflict' THEN COALESCE((
        SELECT MIN(i.sop_instance_uid) FROM instance AS i JOIN instance AS j
        ON j.sop_instance_uid = i.sop_instance_uid AND j.id > i.id WHERE i.study_id = s.id
    ), '') ELSE '' END,
    s.generation, COALESCE(s.settled_at, s.last_instance_at), 'migration', '', '', ''
FROM study AS s WHERE s.state = 'held'
"""


def upgrade() -> None:
    op.create_index("ix_study_patient", "study", ["patient_id"])
    op.create_table(
        "custody",
        sa.Column("instance_id", sa.Integer, nullable=False),
        sa.Column("association_id", sa.String(32), nullable=False),
        sa.Column("association_opened_at", sa.DateTime(timezone=True)),
        sa.Column("spooled_at", sa.DateTime(timezone=True)),
        sa.Column("called_ae_title", sa.String(16), nullable=False),
        sa.Column("pixel_sha256", sa.String(64), nullable=False),
        sa.Column("patient_id", sa.Text, nullable=False),
        sa.Column("issuer_of_patient_id", sa.Text, nullable=False),
        sa.Column("patient_name", sa.Text, nullable=False),
        sa.Column("patient_birth_date", sa.Text, nullable=False),
        sa.Column("patient_sex", sa.Text, nullable=False),
        sa.Column("fate", sa.String(16), nullable=False),
        sa.Column("fate_code", sa.String(32), nullable=False),
        sa.Column("fate_detail", sa.Text, nullable=False),
        sa.Column("fate_generation", sa.Integer),
        sa.Column("fate_at", sa.DateTime(timezone=True)),
        sa.Column("set_aside", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("purged_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("instance_id", name=op.f("pk_custody")),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_custody_instance_id_instance")
        ),
    )
    op.create_index("ix_custody_pixels", "custody", ["pixel_sha256"])
    op.create_index("ix_custody_fate", "custody", ["fate"])
    op.create_table(
        "conflict",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("weight", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_by", sa.Text, nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True)),
        sa.Column("resolved_by", sa.Text, nullable=False),
        sa.Column("resolution", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conflict")),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_conflict_study_id_study")
        ),
    )
    op.create_index(op.f("ix_conflict_study_id"), "conflict", ["study_id"])
    op.create_index("ix_conflict_open", "conflict", ["resolved_at", "study_id"])
    op.create_table(
        "reconciliation",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("analysed", sa.BigInteger, nullable=False),
        sa.Column("excluded", sa.BigInteger, nullable=False),
        sa.Column("quarantined", sa.BigInteger, nullable=False),
        sa.Column("still_open", sa.BigInteger, nullable=False),
        sa.Column("unrecorded", sa.BigInteger, nullable=False),
        sa.Column("oldest_open_at", sa.DateTime(timezone=True)),
        sa.Column("balanced", sa.Boolean, nullable=False),
        sa.Column("differences", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliation")),
    )
    op.create_index(op.f("ix_reconciliation_at"), "reconciliation", ["at"])
    op.execute(HELD_BEFORE)
    op.execute(sa.text(KNOWN_BEFORE).bindparams(sa.bindparam("no", value=False, type_=sa.Boolean)))


def downgrade() -> None:
    op.drop_table("reconciliation")
    op.drop_table("conflict")
    op.drop_table("custody")
    op.drop_index("ix_study_patient", "study")
