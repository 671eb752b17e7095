"""What readers said about findings. Append-only: a change of mind or an undo is a new row."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from db.base import Base

OF_THE_STUDY = "study"
"""The subject of a word about the whole study."""


class FeedbackRow(Base):
    """One reader's word on one finding of one generation, or on the study as a whole."""

    __tablename__ = "feedback"
    __table_args__ = (
        UniqueConstraint("study_id", "generation", "subject", "user_id", "number"),
        Index("ix_feedback_at", "at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    generation: Mapped[int]
    subject: Mapped[str] = mapped_column(String(32))
    """The detection's number, or OF_THE_STUDY."""
    number: Mapped[int]
    """Counts one reader's words on one subject from 1: of two sent at once, one is refused."""
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    reader: Mapped[str] = mapped_column(String(64))
    """Name of the account."""
    reader_role: Mapped[str] = mapped_column(String(32))
    verdict: Mapped[str] = mapped_column(String(16))
    """agree, disagree, unsure, missed, or withdrawn."""
    reason_code: Mapped[str | None] = mapped_column(String(32))
    detection_id: Mapped[int | None] = mapped_column(ForeignKey("detection.id"))
    detector: Mapped[str] = mapped_column(Text, default="")
    tracking_uid: Mapped[str] = mapped_column(String(64), default="")
    """Tracking Unique Identifier of the finding in the report; empty where no report was made."""
    report_sop_instance_uid: Mapped[str] = mapped_column(String(64), default="")
    outcome: Mapped[str] = mapped_column(String(16))
    """The study's at the time, as its state and mode."""
    state: Mapped[str] = mapped_column(String(16))
    mode: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime]


def latest(rows: Iterable[FeedbackRow]) -> tuple[FeedbackRow, ...]:
    """Give each reader's last word on each subject, oldest first."""
    last: dict[tuple[int, int, str, int], FeedbackRow] = {}
    for row in sorted(rows, key=lambda one: one.number):
        last[(row.study_id, row.generation, row.subject, row.user_id)] = row
    return tuple(sorted(last.values(), key=lambda one: one.id))


def of_study(
    session: Session, study_id: int, generation: int, user_id: int | None = None
) -> tuple[FeedbackRow, ...]:
    """Give every word on one generation of a study, oldest first; of one reader if named."""
    wanted = select(FeedbackRow).where(
        FeedbackRow.study_id == study_id, FeedbackRow.generation == generation
    )
    if user_id is not None:
        wanted = wanted.where(FeedbackRow.user_id == user_id)
    return tuple(session.scalars(wanted.order_by(FeedbackRow.id)))
