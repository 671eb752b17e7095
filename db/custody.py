"""What became of every received instance, what needs a person, and the nightly sum."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base
from db.tables import SHA256, UID, StudyRow

Index("ix_study_patient", StudyRow.patient_id)


class CustodyRow(Base):
    """One received content's way through us: who brought it, whose it says it is, its fate.

    Beside its ``InstanceRow``. When it was reported and committed is told by the outbox.
    """

    __tablename__ = "custody"
    __table_args__ = (Index("ix_custody_pixels", "pixel_sha256"), Index("ix_custody_fate", "fate"))

    instance_id: Mapped[int] = mapped_column(ForeignKey("instance.id"), primary_key=True)

    # by the listener's clock
    association_id: Mapped[str] = mapped_column(String(32), default="")
    """Of the association that brought it first; empty where the spool does not tell."""
    association_opened_at: Mapped[datetime | None]
    spooled_at: Mapped[datetime | None]
    """When its bytes were whole: just before the file was synced and the sender was answered."""
    called_ae_title: Mapped[str] = mapped_column(String(16), default="")

    # content and identity, as received
    pixel_sha256: Mapped[str] = mapped_column(SHA256, default="")
    """Of the value of Pixel Data alone; empty without one, or where all pixels are equal."""
    patient_id: Mapped[str] = mapped_column(Text, default="")
    issuer_of_patient_id: Mapped[str] = mapped_column(Text, default="")
    patient_name: Mapped[str] = mapped_column(Text, default="")
    patient_birth_date: Mapped[str] = mapped_column(Text, default="")
    patient_sex: Mapped[str] = mapped_column(Text, default="")

    # what became of it
    fate: Mapped[str] = mapped_column(String(16), default="open")
    """open, analysed, excluded, or unrecorded where it was handled before fates were kept."""
    fate_code: Mapped[str] = mapped_column(String(32), default="")
    """Why it was excluded: a coded reason."""
    fate_detail: Mapped[str] = mapped_column(Text, default="")
    fate_generation: Mapped[int | None]
    fate_at: Mapped[datetime | None]
    set_aside: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Belongs to no later generation: revised at the source, or a person decided so."""
    purged_at: Mapped[datetime | None]
    """When its bytes were deleted; this row, its hashes and its audit stay."""


class ConflictRow(Base):
    """Something about a study's identity or content that a person should decide or know."""

    __tablename__ = "conflict"
    __table_args__ = (Index("ix_conflict_open", "resolved_at", "study_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    code: Mapped[str] = mapped_column(String(32))
    weight: Mapped[str] = mapped_column(String(16))
    """hold: no report leaves; warning: a person should look; note: worth knowing."""
    detail: Mapped[str] = mapped_column(Text, default="")
    """One plain sentence without patient data."""
    subject: Mapped[str] = mapped_column(UID, default="")
    """The SOP Instance UID in two contents, or the other study; empty where it is the study."""
    generation: Mapped[int] = mapped_column(default=0)
    """The study's when this came up."""
    opened_at: Mapped[datetime]
    opened_by: Mapped[str] = mapped_column(Text)
    resolved_at: Mapped[datetime | None]
    resolved_by: Mapped[str] = mapped_column(Text, default="")
    resolution: Mapped[str] = mapped_column(String(32), default="")
    """What was done about it: a code."""
    reason: Mapped[str] = mapped_column(Text, default="")
    """In the words of whoever resolved it."""


class ReconciliationRow(Base):
    """One comparison of what was received with what became of it."""

    __tablename__ = "reconciliation"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    received: Mapped[int] = mapped_column(BigInteger)
    """Contents: those indexed, and those in quarantine."""
    analysed: Mapped[int] = mapped_column(BigInteger)
    excluded: Mapped[int] = mapped_column(BigInteger)
    quarantined: Mapped[int] = mapped_column(BigInteger)
    still_open: Mapped[int] = mapped_column(BigInteger)
    unrecorded: Mapped[int] = mapped_column(BigInteger)
    oldest_open_at: Mapped[datetime | None]
    balanced: Mapped[bool]
    differences: Mapped[str] = mapped_column(Text, default="[]")
    """JSON: a list of code, count and an example's own id."""
