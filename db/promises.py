"""Storage Commitment that others ask of us: requests, their instances, and our reports."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base
from db.tables import UID


class PromiseRequestRow(Base):
    """One N-ACTION: a peer asks whether we keep some instances (PS3.4 J.3.2)."""

    __tablename__ = "promise_request"
    __table_args__ = (Index("ix_promise_request_work", "state", "due_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    transaction_uid: Mapped[str] = mapped_column(UID, unique=True)
    ae_title: Mapped[str] = mapped_column(String(16))
    """Who asked, and gets the report."""
    called_ae_title: Mapped[str] = mapped_column(String(16))
    """As whom we were asked, and report."""
    address: Mapped[str] = mapped_column(Text, default="")
    asked_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16))
    """asked, verified, reported or gave-up."""
    due_at: Mapped[datetime | None]
    """When something is next done about it."""
    leased_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(default=0)
    tries: Mapped[int] = mapped_column(default=0)
    verified_at: Mapped[datetime | None]
    reported_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(Text)


class PromiseRow(Base):
    """One instance of a request, and what we say of it."""

    __tablename__ = "promise"

    request_id: Mapped[int] = mapped_column(ForeignKey("promise_request.id"), primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    failure_reason: Mapped[int | None]
    """(0008,1197); empty where we keep it, or have not looked yet."""
