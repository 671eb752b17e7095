"""Which slices carried a detection's score; shown in research mode only."""

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base
from db.tables import UID


class CarriedRow(Base):
    """One of the strangest slices of a series; where a map is kept, the region it marks."""

    __tablename__ = "carried_slice"

    detection_id: Mapped[int] = mapped_column(ForeignKey("detection.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    """0 is the strangest."""
    sop_instance_uid: Mapped[str] = mapped_column(UID)
    score: Mapped[float]
    p_value: Mapped[float]
    """The series' own, had this slice been its strangest."""
    top_px: Mapped[int | None]
    left_px: Mapped[int | None]
    bottom_px: Mapped[int | None]
    right_px: Mapped[int | None]
