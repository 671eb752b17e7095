"""What destinations can do, what they promised to keep, and what was taken back."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base
from db.tables import UID


class CommitmentRow(Base):
    """One object of one request for Storage Commitment (PS3.4 J). Each request makes new rows."""

    __tablename__ = "commitment"
    __table_args__ = (UniqueConstraint("transaction_uid", "outbox_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    outbox_id: Mapped[int] = mapped_column(ForeignKey("outbox.id"), index=True)
    transaction_uid: Mapped[str] = mapped_column(UID)
    """Random: whoever reports under it was asked by us."""
    asked_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(String(16), default="")
    """committed or failed; empty while no report came."""
    failure_reason: Mapped[int | None]
    """(0008,1197), where the destination said that it does not keep the object."""
    reported_at: Mapped[datetime | None]


class CapabilityRow(Base):
    """What one destination accepted of one service when it was last asked."""

    __tablename__ = "capability"
    __table_args__ = (
        UniqueConstraint(
            "destination", "service", "sop_class_uid", "transfer_syntax_uid", name="uq_capability"
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    destination: Mapped[str] = mapped_column(Text)
    service: Mapped[str] = mapped_column(String(16))
    """tcp, echo, store, find, commitment ..."""
    sop_class_uid: Mapped[str] = mapped_column(UID, default="")
    transfer_syntax_uid: Mapped[str] = mapped_column(UID, default="")
    accepted: Mapped[bool]
    detail: Mapped[str] = mapped_column(Text, default="")
    checked_at: Mapped[datetime]


class WithdrawalRow(Base):
    """A report taken back: from then on it goes nowhere, and a rejection note follows it."""

    __tablename__ = "withdrawal"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID, unique=True)
    """Of the report."""
    reason: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime]
    note_sop_instance_uid: Mapped[str | None] = mapped_column(UID)
    """Of the rejection note, once it is in the outbox; empty where nobody had the report."""
