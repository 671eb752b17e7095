"""How the run went beside its results: detectors that gave none, and maps that are kept."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base


class RefusalRow(Base):
    """A detector that was asked about a series of a generation and could not speak."""

    __tablename__ = "refusal"
    __table_args__ = (
        UniqueConstraint(
            "study_id", "generation", "detector", "series_instance_uid", name="uq_refusal"
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    generation: Mapped[int]
    detector: Mapped[str] = mapped_column(Text)
    series_instance_uid: Mapped[str] = mapped_column(String(64))
    code: Mapped[str] = mapped_column(String(32))
    """Key of ``triage.errors.REASONS``."""
    sentence: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime]


class MapRow(Base):
    """Which kept anomaly map belongs to a detection (research mode)."""

    __tablename__ = "detection_map"

    detection_id: Mapped[int] = mapped_column(ForeignKey("detection.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    """Its name in the results folder."""
