"""What was acknowledged and never came to the index: the listener's count against what arrived."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from db import associations
from db.audit import SUCCESS, Entry, Event, record
from db.engine import Database, now
from triage.arrival import association_of
from triage.spool import FOLDERS

ARRIVES: Final = timedelta(hours=2)
"""After the listener's word was read; before, a file may still be on its way."""
KEPT: Final = timedelta(days=30)
"""After the last that was heard of an association; then it is forgotten, and missed no more."""


@dataclass(frozen=True, slots=True)
class Missing:
    """An association of which fewer instances arrived than its sender was told are safe."""

    association_id: str
    ae_title: str
    """As its sender called itself."""
    address: str
    told_at: datetime
    """When the listener's word was read, soon after its end."""
    accepted: int
    missing: int

    def __str__(self) -> str:
        at = self.told_at.strftime("%Y-%m-%d %H:%M UTC")
        return f"association {self.association_id} of {self.ae_title}, {self.address}, {at}"


def missing(database: Database, spool: Path) -> list[Missing]:
    """Give every association that is short, but for what still waits for the ingestor."""
    if not _short(database):
        return []
    waiting = _waiting(spool)  # before the rows are read anew: what is taken in between has come
    found = []
    for one in _short(database):
        lacks = (one.accepted or 0) - one.arrived - waiting[one.association_id]
        excused = min(max(lacks, 0), waiting[""])
        waiting[""] -= excused
        if lacks > excused and one.told_at is not None:
            facts = one.association_id, one.ae_title, one.address, one.told_at
            found.append(Missing(*facts, one.accepted or 0, lacks - excused))
    return found


def _short(database: Database) -> Sequence[associations.AssociationRow]:
    with database.reading() as session:
        return associations.short(session, now(session) - ARRIVES)


def forget(database: Database) -> None:
    """Drop the associations of which nothing was heard for a month."""
    with database.begin() as session:
        associations.forget(session, now(session) - KEPT)


def settle(database: Database, association_id: str, *, actor: str, reason: str) -> bool:
    """No longer miss what an association brought, audited; tells whether something was missing."""
    with database.begin() as session:
        was_short = associations.settle(session, association_id)
        if was_short:
            entry = Entry(
                event=Event.PROCEDURE_RECORD, kind="custody.settled", action="U", outcome=SUCCESS,
                actor=actor, object_type="association", object_id=association_id,
                detail={"reason": reason},
            )  # fmt: skip
            record(session, entry)
    return was_short


def _waiting(spool: Path) -> Counter[str]:
    """Count the files that wait, by association; under no name those that are not ours to read."""
    found = Counter[str]()
    for folder in FOLDERS:
        for name in os.listdir(spool / "in" / folder):  # noqa: PTH208 - it may be long
            try:
                found[association_of(spool / "in" / folder / name)] += 1
            except FileNotFoundError:
                continue
            except OSError:
                found[""] += 1
    return found
