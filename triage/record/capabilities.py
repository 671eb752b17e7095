"""What destinations said they take, as the probe last wrote it down."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from db.delivery import CapabilityRow
from db.engine import now
from triage.destinations import Capability

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


def save_capabilities(session: Session, destination: str, found: Sequence[Capability]) -> None:
    """Write what a probe found; of services it could not ask about, the last word stays."""
    services = {one.service for one in found}
    session.execute(
        delete(CapabilityRow).where(
            CapabilityRow.destination == destination, CapabilityRow.service.in_(services)
        )
    )
    at = now(session)
    session.add_all(
        CapabilityRow(
            destination=destination,
            service=one.service,
            sop_class_uid=one.sop_class_uid,
            transfer_syntax_uid=one.transfer_syntax_uid,
            accepted=one.accepted,
            detail=one.detail,
            checked_at=at,
        )
        for one in found
    )
    session.flush()


def is_probe_due(session: Session, destination: str, every: timedelta) -> bool:
    """Tell whether a destination was not asked for as long as this."""
    last = session.scalar(
        select(func.max(CapabilityRow.checked_at)).where(CapabilityRow.destination == destination)
    )
    return last is None or now(session) - last >= every
