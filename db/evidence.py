"""What tells that a study is complete: announcements, counts, arrivals, and what closed it."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base
from db.tables import UID


class AnnouncementRow(Base):
    """A performed procedure step (MPPS) or an instance availability notification (IAN)."""

    __tablename__ = "announcement"

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID, unique=True)
    kind: Mapped[str] = mapped_column(String(8))
    """mpps or ian."""
    state: Mapped[str] = mapped_column(String(16))
    """Performed Procedure Step Status (0040,0252); AVAILABLE for a notification."""
    revision: Mapped[int]
    """Counts the messages about it."""
    reason_code: Mapped[str] = mapped_column(String(16), default="")
    """Of a discontinuation (CID 9300), where its scheme is DCM."""
    ae_title: Mapped[str] = mapped_column(String(16), default="")
    """Who told us."""
    modality: Mapped[str] = mapped_column(String(16), default="")
    listed: Mapped[int] = mapped_column(default=0)
    """Instances that it says there are."""
    missing: Mapped[int] = mapped_column(default=0)
    """Of these, the ones that are not here."""
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]


class AnnouncedStudyRow(Base):
    """A study that an announcement speaks about."""

    __tablename__ = "announced_study"

    announcement_id: Mapped[int] = mapped_column(ForeignKey("announcement.id"), primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(UID, primary_key=True, index=True)


class AnnouncedInstanceRow(Base):
    """An instance that an announcement says there is."""

    __tablename__ = "announced_instance"

    announcement_id: Mapped[int] = mapped_column(ForeignKey("announcement.id"), primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID, primary_key=True, index=True)
    series_instance_uid: Mapped[str] = mapped_column(UID)
    here: Mapped[bool]


class SeriesArrivalRow(Base):
    """How one series of a study came in."""

    __tablename__ = "series_arrival"
    __table_args__ = (UniqueConstraint("study_id", "series_instance_uid"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    series_instance_uid: Mapped[str] = mapped_column(UID)
    modality: Mapped[str] = mapped_column(Text, default="")
    body_part: Mapped[str] = mapped_column(Text, default="")
    """Upper case."""
    description: Mapped[str] = mapped_column(Text, default="")
    """Upper case."""
    station: Mapped[str] = mapped_column(Text)
    """Whose pace it is: "AE title/Station Name/Modality"."""
    instances: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    longest_gap_ms: Mapped[int] = mapped_column(default=0)
    """Longest silence of the study that an instance of this series ended, where it was bounded."""


class StationPaceRow(Base):
    """How long a station pauses within a study, learnt from its last studies."""

    __tablename__ = "station_pace"

    station: Mapped[str] = mapped_column(Text, primary_key=True)
    gaps: Mapped[str] = mapped_column(Text)
    """JSON: [study id, longest gap in milliseconds], the last ones."""
    studies: Mapped[int]
    quiet_ms: Mapped[int | None]
    """What is waited; empty while too few studies are known."""
    updated_at: Mapped[datetime]


class SourceCountRow(Base):
    """What a study's source says by C-FIND of the number of its instances."""

    __tablename__ = "source_count"

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), primary_key=True)
    source: Mapped[str] = mapped_column(Text, index=True)
    """Name of a configured source."""
    due_at: Mapped[datetime | None]
    """When it is asked next; empty when there is nothing to ask."""
    asked_at: Mapped[datetime | None]
    answer: Mapped[int | None]
    """Instances at the source."""
    held: Mapped[int | None]
    """Instances here when the answer came."""
    agreed: Mapped[int] = mapped_column(default=0)
    """Answers in a row that were equal to what is here."""
    tries: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None] = mapped_column(Text)


class ClosingRow(Base):
    """The evidence on which one generation of a study was closed."""

    __tablename__ = "closing"
    __table_args__ = (UniqueConstraint("study_id", "generation"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    generation: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    """mpps, ian, count, series, quiet or timeout."""
    sentence: Mapped[str] = mapped_column(Text)
    expected: Mapped[int | None]
    """Instances that there should be, where something said so."""
    held: Mapped[int]
    last_instance_at: Mapped[datetime]
    closed_at: Mapped[datetime]


class UrgencyRow(Base):
    """A study that goes before others by so much time, as its sender said."""

    __tablename__ = "urgency"

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), primary_key=True)
    head_start_s: Mapped[int]
    said_by: Mapped[str] = mapped_column(String(32))


class RejectedInstanceRow(Base):
    """An instance that a rejection note (IHE IOCM) took back at its source, here or not yet."""

    __tablename__ = "rejected_instance"
    __table_args__ = (UniqueConstraint("study_id", "sop_instance_uid"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    sop_instance_uid: Mapped[str] = mapped_column(UID)
    code: Mapped[str] = mapped_column(String(16))
    """Of the note's title: 113001, 113037, 113038 or 113039 (DCM)."""
    note_sop_instance_uid: Mapped[str] = mapped_column(UID)
    at: Mapped[datetime]
