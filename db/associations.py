"""What each association brought, by the listener's word and by what arrived: the two are compared.

The listener counts by itself, so what leaves the spool before it is indexed is missed here.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, String, Table, Text, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from db.base import Base
from db.engine import now
from db.upsert import insert_once


class AssociationRow(Base):
    """One association that brought instances; forgotten after a month."""

    __tablename__ = "association"

    association_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    ae_title: Mapped[str] = mapped_column(String(16), default="")
    address: Mapped[str] = mapped_column(Text, default="")
    accepted: Mapped[int | None]
    """How many instances it was told are safe; empty until the listener says so, at its end."""
    arrived: Mapped[int] = mapped_column(default=0)
    """How many files of it were indexed, counted once more, or put into quarantine."""
    noted_at: Mapped[datetime] = mapped_column(index=True)
    """When something of it was last noted: one may be open for months."""
    told_at: Mapped[datetime | None]
    """When the listener's word was read."""


def arrived(session: Session, association_id: str) -> None:
    """Count one file of an association; what names none is not counted."""
    if association_id:
        _change(session, association_id, arrived=AssociationRow.arrived + 1)


def ended(
    session: Session, association_id: str, ae_title: str, address: str, accepted: int
) -> None:
    """Note how many instances an association was told are safe; saying it again changes nothing."""
    told = {"ae_title": ae_title, "address": address, "accepted": accepted}
    _change(session, association_id, **told, told_at=now(session))


def short(session: Session, before: datetime) -> Sequence[AssociationRow]:
    """Give those that ended before a moment, and of which fewer files arrived than were told."""
    found = (
        select(AssociationRow)
        .where(AssociationRow.told_at < before)
        .where(AssociationRow.accepted > AssociationRow.arrived)
        .order_by(AssociationRow.told_at)
    )
    return session.scalars(found).all()


def settle(session: Session, association_id: str) -> bool:
    """Take what arrived of an association for all there was; tells whether some was missing."""
    row = session.get(AssociationRow, association_id, with_for_update=True)
    if row is None or row.accepted is None or row.accepted <= row.arrived:
        return False
    row.accepted = row.arrived
    return True


def forget(session: Session, before: datetime) -> None:
    """Drop those of which nothing was noted since a moment."""
    session.execute(delete(AssociationRow).where(AssociationRow.noted_at < before))


def _change(session: Session, association_id: str, **values: object) -> None:
    """Change a row, made where there is none."""
    table = cast("Table", AssociationRow.__table__)
    values["noted_at"] = now(session)
    change = update(table).where(table.c.association_id == association_id).values(values)
    if not cast("CursorResult[Any]", session.execute(change)).rowcount:
        key = {"association_id": association_id, "noted_at": values["noted_at"]}
        insert_once(session, AssociationRow, {**key, "ae_title": "", "address": "", "arrived": 0})
        session.execute(change)
