"""Events journalled outside the database, each taken into the audit trail once."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base


class AuditOnceRow(Base):
    """An event that has its audit row. Append-only; the trail itself has a table for each month."""

    __tablename__ = "audit_once"

    event_uid: Mapped[str] = mapped_column(String(36), primary_key=True)
