"""Storage Commitment that others ask of us: requests, their instances, and our reports."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, ForeignKey, Index, String, Text, or_, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from db.base import Base
from db.custody import CustodyRow
from db.tables import UID, InstanceRow, StudyRow


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
    """When the report was taken, or given up: its answer alone may have been lost."""
    last_error: Mapped[str | None] = mapped_column(Text)


class PromiseRow(Base):
    """One instance of a request, and what we say of it."""

    __tablename__ = "promise"

    request_id: Mapped[int] = mapped_column(ForeignKey("promise_request.id"), primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID, primary_key=True, index=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    failure_reason: Mapped[int | None]
    """(0008,1197); empty where we keep it, or have not looked yet."""


def holds(ended: datetime | None) -> ColumnElement[bool]:
    """Mean studies of which an image is here that we promised to keep, or were asked to.

    Promises that were reported at ``ended`` or before have run out; without it none ever does.
    """
    found = (
        select(PromiseRow.request_id)
        .join(PromiseRequestRow, PromiseRequestRow.id == PromiseRow.request_id)
        .join(InstanceRow, InstanceRow.sop_instance_uid == PromiseRow.sop_instance_uid)
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.study_id == StudyRow.id, CustodyRow.purged_at.is_(None))
        .where(PromiseRow.failure_reason.is_(None))
    )
    if ended is not None:
        told = PromiseRequestRow.reported_at
        found = found.where(or_(told.is_(None), told > ended))
    return found.correlate(StudyRow).exists()


def held(session: Session, study_ids: Collection[int], ended: datetime | None) -> set[int]:
    """Give those studies that ``holds`` means."""
    found = select(StudyRow.id).where(StudyRow.id.in_(study_ids), holds(ended))
    return set(session.scalars(found))
