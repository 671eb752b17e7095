"""Unified Procedure Steps: the work items we manage, and our claims on those of other managers."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base


class WorkitemRow(Base):
    """A work item of which we are the manager (PS3.4 CC)."""

    __tablename__ = "ups_workitem"
    __table_args__ = (Index("ix_ups_workitem_state", "state", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(String(64), unique=True)
    state: Mapped[str] = mapped_column(String(16))
    """SCHEDULED, IN PROGRESS, COMPLETED or CANCELED."""
    transaction_uid: Mapped[str | None] = mapped_column(String(64))
    """The performer's lock: never given to anybody."""
    content: Mapped[str] = mapped_column(Text)
    """Every other attribute, as DICOM JSON (PS3.18 F)."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class SubscriptionRow(Base):
    """An application entity that is told about a work item, or about every new one."""

    __tablename__ = "ups_subscription"
    __table_args__ = (UniqueConstraint("ae_title", "sop_instance_uid"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    ae_title: Mapped[str] = mapped_column(String(16))
    sop_instance_uid: Mapped[str] = mapped_column(String(64), index=True)
    """Of a work item, or the well-known one of the global or the filtered subscription."""
    deletion_lock: Mapped[bool] = mapped_column(default=False)
    keys: Mapped[str] = mapped_column(Text, default="")
    """Matching keys of a filtered subscription, as DICOM JSON."""


class NoticeRow(Base):
    """An event report for one application entity, until it took it."""

    __tablename__ = "ups_notice"
    __table_args__ = (Index("ix_ups_notice_waiting", "ae_title", "sent_at", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    ae_title: Mapped[str] = mapped_column(String(16))
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    event_type: Mapped[int]
    """1 state, 2 cancel requested, 3 progress, 4 the manager, 5 assigned (PS3.4 Table CC.2.4-1)."""
    content: Mapped[str] = mapped_column(Text)
    """The event's attributes, as DICOM JSON."""
    at: Mapped[datetime]
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    sent_at: Mapped[datetime | None]


class ClaimRow(Base):
    """Our claim on a work item of some manager: written before it is made, so that it is ours."""

    __tablename__ = "ups_claim"
    __table_args__ = (
        UniqueConstraint("manager", "sop_instance_uid"),
        Index("ix_ups_claim_work", "state", "due_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    manager: Mapped[str] = mapped_column(Text)
    """Its name in the settings."""
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    transaction_uid: Mapped[str] = mapped_column(String(64), unique=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    state: Mapped[str] = mapped_column(String(16))
    """claiming, held, completed, canceled, or lost."""
    told: Mapped[str] = mapped_column(Text, default="")
    """The progress last reported."""
    cancel_asked: Mapped[bool] = mapped_column(default=False)
    attempts: Mapped[int] = mapped_column(default=0)
    """Exchanges that came to nothing since the last that did."""
    last_error: Mapped[str | None] = mapped_column(Text)
    due_at: Mapped[datetime]
    leased_until: Mapped[datetime | None]
    leased_by: Mapped[str | None] = mapped_column(String(128))
    started_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]


class TokenRow(Base):
    """A program that may use the web services. The token is kept only as its hash."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    roles: Mapped[str] = mapped_column(Text)
    """Words joined by spaces."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
