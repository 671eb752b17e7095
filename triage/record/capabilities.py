"""What destinations said they take, as the probe last wrote it down."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.delivery import CapabilityRow

_STORE: Final = "store"


def load_accepted(session: Session) -> Mapping[str, frozenset[str]]:
    """Give by destination the SOP classes it takes; one that was never asked is missing."""
    rows = session.execute(
        select(
            CapabilityRow.destination, CapabilityRow.sop_class_uid, CapabilityRow.accepted
        ).where(CapabilityRow.service == _STORE, CapabilityRow.sop_class_uid != "")
    )
    found: dict[str, set[str]] = {}
    for destination, sop_class_uid, accepted in rows:
        found.setdefault(destination, set())
        if accepted:
            found[destination].add(sop_class_uid)
    return {destination: frozenset(uids) for destination, uids in found.items()}
