"""Who reads which study now: a soft lock with an owner and an end, which anybody may take over."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import ForeignKey, Index, Select, String, bindparam, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from db.among import among
from db.base import Base

OPEN = text("ended_at IS NULL")


class ReaderClaimRow(Base):
    """One reader's claim on one study, from its beginning to its end."""

    __tablename__ = "reader_claim"
    __table_args__ = (
        Index(
            "ix_reader_claim_open", "study_id", unique=True, sqlite_where=OPEN,
            postgresql_where=OPEN,
        ),
        Index("ix_reader_claim_mine", "user_id", "ended_at"),
        Index("ix_reader_claim_changed", "changed_at"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    owner: Mapped[str] = mapped_column(String(64))
    """Name of the account."""
    claimed_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    """From then on nobody holds it, whether somebody wrote that down or not."""
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str] = mapped_column(String(16), default="")
    """released, taken or expired; empty while it is open."""
    changed_at: Mapped[datetime]


HELD: Final = select(ReaderClaimRow).where(
    among(ReaderClaimRow.study_id, "studies"),
    ReaderClaimRow.ended_at.is_(None),
    ReaderClaimRow.expires_at > bindparam("at"),
)


def held(
    session: Session, study_ids: Collection[int], at: datetime
) -> Mapping[int, ReaderClaimRow]:
    """Give the claim that holds at a moment, by study."""
    rows = session.scalars(HELD, {"studies": study_ids, "at": at})
    return {row.study_id: row for row in rows}


def open_one(session: Session, study_id: int) -> ReaderClaimRow | None:
    """Give the study's claim that nobody has ended yet, locked; it may have run out."""
    return session.scalar(
        select(ReaderClaimRow)
        .where(ReaderClaimRow.study_id == study_id, ReaderClaimRow.ended_at.is_(None))
        .with_for_update()
    )


def studies_of(user_id: int, at: datetime) -> Select[int]:
    """Ask for the studies that a reader holds at a moment."""
    return select(ReaderClaimRow.study_id).where(
        ReaderClaimRow.user_id == user_id,
        ReaderClaimRow.ended_at.is_(None),
        ReaderClaimRow.expires_at > at,
    )


def studies_held(at: datetime, *, but: int) -> Select[int]:
    """Ask for the studies that others than one reader hold at a moment."""
    return select(ReaderClaimRow.study_id).where(
        ReaderClaimRow.user_id != but,
        ReaderClaimRow.ended_at.is_(None),
        ReaderClaimRow.expires_at > at,
    )
