"""What a detector said beside its score, and what a person is warned of. Neither ranks a study."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base


class ReadingRow(Base):
    """One more number of a detection: another raw score, or what the images look like."""

    __tablename__ = "detection_reading"
    __table_args__ = (UniqueConstraint("detection_id", "kind", "word"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    detection_id: Mapped[int] = mapped_column(ForeignKey("detection.id"))
    kind: Mapped[str] = mapped_column(String(16))
    """score, organ or modality."""
    word: Mapped[str] = mapped_column(Text)
    """The score's name, or the likeliest organ or modality."""
    value: Mapped[float]
    """Raw, or the probability of that organ or modality."""
    header: Mapped[str] = mapped_column(Text, default="")
    """What the header says instead, in the detector's words; empty where it says none of them."""
    header_value: Mapped[float | None]
    """The probability of what the header says."""


class WarningRow(Base):
    """One thing about a generation of a study that a person should look at."""

    __tablename__ = "study_warning"
    __table_args__ = (
        UniqueConstraint(
            "study_id",
            "generation",
            "code",
            "detector",
            "series_instance_uid",
            name="uq_study_warning",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    generation: Mapped[int]
    fence: Mapped[int]
    code: Mapped[str] = mapped_column(String(32))
    """Key of ``triage.finding.WARNINGS``."""
    sentence: Mapped[str] = mapped_column(Text)
    detector: Mapped[str] = mapped_column(Text)
    series_instance_uid: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]
