"""Announcements, counts, paces and closings of studies; promises to keep what others sent."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _announcements()
    _promises()
    _arrivals()
    _ends()


def downgrade() -> None:
    for table in (
        "rejected_instance",
        "urgency",
        "closing",
        "source_count",
        "station_pace",
        "series_arrival",
        "promise",
        "promise_request",
        "announced_study",
        "announced_instance",
        "announcement",
    ):
        op.drop_table(table)


def _announcements() -> None:
    op.create_table(
        "announcement",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("reason_code", sa.String(16), nullable=False),
        sa.Column("ae_title", sa.String(16), nullable=False),
        sa.Column("modality", sa.String(16), nullable=False),
        sa.Column("listed", sa.Integer, nullable=False),
        sa.Column("missing", sa.Integer, nullable=False),
        sa.Column("first_at", MOMENT, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_announcement")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_announcement_sop_instance_uid")),
    )
    op.create_table(
        "announced_instance",
        sa.Column("announcement_id", sa.Integer, nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("here", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(
            ["announcement_id"],
            ["announcement.id"],
            name=op.f("fk_announced_instance_announcement_id_announcement"),
        ),
        sa.PrimaryKeyConstraint(
            "announcement_id", "sop_instance_uid", name=op.f("pk_announced_instance")
        ),
    )
    op.create_index(
        op.f("ix_announced_instance_sop_instance_uid"), "announced_instance", ["sop_instance_uid"]
    )
    op.create_table(
        "announced_study",
        sa.Column("announcement_id", sa.Integer, nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["announcement_id"],
            ["announcement.id"],
            name=op.f("fk_announced_study_announcement_id_announcement"),
        ),
        sa.PrimaryKeyConstraint(
            "announcement_id", "study_instance_uid", name=op.f("pk_announced_study")
        ),
    )
    op.create_index(
        op.f("ix_announced_study_study_instance_uid"), "announced_study", ["study_instance_uid"]
    )


def _promises() -> None:
    op.create_table(
        "promise_request",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("transaction_uid", sa.String(64), nullable=False),
        sa.Column("ae_title", sa.String(16), nullable=False),
        sa.Column("called_ae_title", sa.String(16), nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("due_at", MOMENT),
        sa.Column("leased_until", MOMENT),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("verified_at", MOMENT),
        sa.Column("reported_at", MOMENT),
        sa.Column("last_error", sa.Text),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promise_request")),
        sa.UniqueConstraint("transaction_uid", name=op.f("uq_promise_request_transaction_uid")),
    )
    op.create_index("ix_promise_request_work", "promise_request", ["state", "due_at"])
    op.create_table(
        "promise",
        sa.Column("request_id", sa.Integer, nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("failure_reason", sa.Integer),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["promise_request.id"],
            name=op.f("fk_promise_request_id_promise_request"),
        ),
        sa.PrimaryKeyConstraint("request_id", "sop_instance_uid", name=op.f("pk_promise")),
    )


def _arrivals() -> None:
    op.create_table(
        "series_arrival",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("modality", sa.Text, nullable=False),
        sa.Column("body_part", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("station", sa.Text, nullable=False),
        sa.Column("instances", sa.Integer, nullable=False),
        sa.Column("first_at", MOMENT, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.Column("longest_gap_ms", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_series_arrival_study_id_study")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series_arrival")),
        sa.UniqueConstraint(
            "study_id",
            "series_instance_uid",
            name=op.f("uq_series_arrival_study_id_series_instance_uid"),
        ),
    )
    op.create_table(
        "station_pace",
        sa.Column("station", sa.Text, nullable=False),
        sa.Column("gaps", sa.Text, nullable=False),
        sa.Column("studies", sa.Integer, nullable=False),
        sa.Column("quiet_ms", sa.Integer),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("station", name=op.f("pk_station_pace")),
    )
    op.create_table(
        "source_count",
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("due_at", MOMENT),
        sa.Column("asked_at", MOMENT),
        sa.Column("answer", sa.Integer),
        sa.Column("held", sa.Integer),
        sa.Column("agreed", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_source_count_study_id_study")
        ),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_source_count")),
    )
    op.create_index(op.f("ix_source_count_source"), "source_count", ["source"])


def _ends() -> None:
    op.create_table(
        "closing",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("expected", sa.Integer),
        sa.Column("held", sa.Integer, nullable=False),
        sa.Column("last_instance_at", MOMENT, nullable=False),
        sa.Column("closed_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_closing_study_id_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_closing")),
        sa.UniqueConstraint("study_id", "generation", name=op.f("uq_closing_study_id_generation")),
    )
    op.create_table(
        "urgency",
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("head_start_s", sa.Integer, nullable=False),
        sa.Column("said_by", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_urgency_study_id_study")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_urgency")),
    )
    op.create_table(
        "rejected_instance",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("code", sa.String(16), nullable=False),
        sa.Column("note_sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_rejected_instance_study_id_study")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejected_instance")),
        sa.UniqueConstraint(
            "study_id",
            "sop_instance_uid",
            name=op.f("uq_rejected_instance_study_id_sop_instance_uid"),
        ),
    )
