"""Detectors that a worker does not load, put on the audit trail."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy.exc import DBAPIError

from db.audit import SERIOUS, Entry, Event, record
from db.engine import Database
from triage import log
from triage.trust import REFUSED
from workers.lease import owner

KIND: Final = "artifact.refused"


class Refusals:
    """What one process refused, each told once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._told: dict[str, str] = {}

    def tell(self, refused: Mapping[str, str]) -> None:
        """Write a row for each that is new; what a database that is away misses is told later.

        Args:
            refused: by the detector's name, why it is not used.
        """
        self._told = {name: why for name, why in self._told.items() if name in refused}
        fresh = {name: why for name, why in refused.items() if self._told.get(name) != why}
        if not fresh:
            return
        try:
            with self._database.begin() as session:
                for name, why in sorted(fresh.items()):
                    record(session, _entry(name, why))
        except DBAPIError as why:
            log.get().warning("database.away", why=type(why).__name__)
            return
        self._told.update(fresh)


def _entry(name: str, why: str) -> Entry:
    return Entry(
        event=Event.SECURITY_ALERT, kind=KIND, outcome=SERIOUS, actor=owner(),
        object_type="artifact", object_id=name, detail={"reason": REFUSED, "why": why},
    )  # fmt: skip
