"""Lists that readers keep for themselves: a name, and what it asks for. No patient data."""

from datetime import datetime
from typing import Final

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint, bindparam, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from db.base import Base


class SavedListRow(Base):
    """One reader's list."""

    __tablename__ = "saved_list"
    __table_args__ = (UniqueConstraint("user_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    name: Mapped[str] = mapped_column(String(40))
    query: Mapped[str] = mapped_column(Text)
    """The query string of its page: list, order and filters."""
    created_at: Mapped[datetime]


OF_USER: Final = (
    select(SavedListRow)
    .where(SavedListRow.user_id == bindparam("user"))
    .order_by(SavedListRow.name)
)


def of_user(session: Session, user_id: int) -> tuple[SavedListRow, ...]:
    """Give a reader's lists, in the order of their names."""
    return tuple(session.scalars(OF_USER, {"user": user_id}))
