"""Priors: older studies of a patient, fetched for comparison. They have rows of their own.

Nothing of the road reads these tables, so a prior cannot be triaged, listed or reported.
"""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base
from db.tables import SHA256, UID


class PriorSearchRow(Base):
    """The look for a study's prior at every source: one a study."""

    __tablename__ = "prior_search"
    __table_args__ = (Index("ix_prior_search_work", "state", "due_at"),)

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), primary_key=True)
    state: Mapped[str] = mapped_column(String(16), default="due")
    """due, done or given-up."""
    found: Mapped[str] = mapped_column(String(16), default="")
    """Once done: kept, here, none, refused or unknown-patient."""
    due_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(default=0)
    """Times it came to nothing: sources away or busy."""
    detail: Mapped[str] = mapped_column(Text, default="")
    """What was in the way, in words without patient data."""
    leased_until: Mapped[datetime | None]
    leased_by: Mapped[str | None] = mapped_column(String(128))
    finished_at: Mapped[datetime | None]


class PriorRow(Base):
    """An older study of the same patient, chosen for one study."""

    __tablename__ = "prior"
    __table_args__ = (
        UniqueConstraint("study_id", "study_instance_uid"),
        Index("ix_prior_uid", "study_instance_uid"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    """Of the study for which it was fetched."""
    study_instance_uid: Mapped[str] = mapped_column(UID)
    """Its own."""
    source: Mapped[str] = mapped_column(Text)
    """The source's name in the settings; empty where we hold the study ourselves."""
    source_ae_title: Mapped[str] = mapped_column(String(16), default="")
    method: Mapped[str] = mapped_column(String(8), default="")
    """get or move."""
    state: Mapped[str] = mapped_column(String(16))
    """fetching, complete, partial, here, refused or forgotten."""
    reason_code: Mapped[str] = mapped_column(String(32), default="")
    study_date: Mapped[str] = mapped_column(Text, default="")
    modality: Mapped[str] = mapped_column(Text, default="")
    body_part: Mapped[str] = mapped_column(Text, default="")
    study_description: Mapped[str] = mapped_column(Text, default="")
    expected_count: Mapped[int] = mapped_column(default=0)
    """Instances that the source was asked for."""
    instance_count: Mapped[int] = mapped_column(default=0)
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    asked_at: Mapped[datetime]
    open_until: Mapped[datetime]
    """Instances that come for it later are not expected any more."""
    finished_at: Mapped[datetime | None]


class PriorInstanceRow(Base):
    """One instance of a prior, and where its bytes rest: in the spool's ``priors``."""

    __tablename__ = "prior_instance"
    __table_args__ = (UniqueConstraint("prior_id", "sop_instance_uid"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    prior_id: Mapped[int] = mapped_column(ForeignKey("prior.id"))
    sop_instance_uid: Mapped[str] = mapped_column(UID, index=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    series_instance_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    modality: Mapped[str] = mapped_column(Text, default="")
    sha256: Mapped[str] = mapped_column(SHA256, index=True)
    """As of a received instance: of its content, without the file meta information."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    received_at: Mapped[datetime]


class PriorRequestRow(Base):
    """One request to a source: what its budget is counted from."""

    __tablename__ = "prior_request"
    __table_args__ = (Index("ix_prior_request_budget", "source", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(String(8))
    """find, get or move."""
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    """What came for it."""
    at: Mapped[datetime]
