"""``triage destination``: what each destination can do, asked now or when it last was."""

from collections.abc import Sequence
from typing import Any

from pydicom.uid import UID
from sqlalchemy import select

from db.audit import MINOR, SUCCESS, Entry, Event, record
from db.delivery import CapabilityRow
from db.engine import Database
from triage import deliver
from triage.destinations import Capability, Destination
from triage.errors import ConfigError
from triage.record.capabilities import save_capabilities
from triage.settings import Settings

NEEDED = ("tcp", "echo", "associate", "query")
"""Services without which nothing is delivered, where they were asked about at all."""


def find(settings: Settings, name: str) -> Destination:
    """Give a destination of the configuration.

    Raises:
        ConfigError: there is none of that name.
    """
    known = {one.name: one for one in settings.site.destinations}
    if name not in known:
        names = ", ".join(known) or "none"
        msg = f"site.yaml has no destination {name}; there are: {names}"
        raise ConfigError(msg)
    return known[name]


def examine(settings: Settings, database: Database, name: str, *, actor: str) -> list[Capability]:
    """Ask a destination what it can do, keep the answer, audited; gives it."""
    to = find(settings, name)
    try:
        found = deliver.capabilities(to)
    finally:
        deliver.stop()
    with database.begin() as session:
        save_capabilities(session, name, found)
        entry = Entry(
            event=Event.PROCEDURE_RECORD, kind="destination.tested", action="E",
            outcome=SUCCESS if works(found) else MINOR, actor=actor,
            object_type="destination", object_id=name,
            detail={"accepted": sum(one.accepted for one in found), "asked": len(found)},
        )  # fmt: skip
        record(session, entry)
    return list(found)


def works(found: Sequence[Capability]) -> bool:
    """Tell whether anything can be delivered, and any kind of object is taken where that is known.

    A PACS that takes none of our objects answers, and is of no use.
    """
    reached = all(one.accepted for one in found if one.service in NEEDED)
    stores = [one.accepted for one in found if one.service == "store"]
    return reached and (any(stores) if stores else True)


def known(settings: Settings, database: Database) -> list[dict[str, Any]]:
    """Give each destination with what it last said, counted by service."""
    with database.reading() as session:
        rows = list(session.scalars(select(CapabilityRow).order_by(CapabilityRow.id)))
    return [
        {
            "name": one.name,
            "kind": one.kind,
            "outputs": ", ".join(one.outputs),
            "takes": ", ".join(
                sorted(
                    {_words(row) for row in rows if row.destination == one.name and row.accepted}
                )
            ),
            "asked_at": max(
                (row.checked_at for row in rows if row.destination == one.name), default=None
            ),
        }
        for one in settings.site.destinations
    ]


def lines(found: Sequence[Capability]) -> list[tuple[str, str, str]]:
    """Give a tick or cross, the service and the detail of each answer."""
    return [
        (
            "\N{CHECK MARK}" if one.accepted else "\N{BALLOT X}",
            _service(one),
            one.detail or (UID(one.transfer_syntax_uid).name if one.transfer_syntax_uid else ""),
        )
        for one in found
    ]


def _service(one: Capability) -> str:
    return f"{one.service} {UID(one.sop_class_uid).name}" if one.service == "store" else one.service


def _words(row: CapabilityRow) -> str:
    return UID(row.sop_class_uid).name if row.service == "store" else row.service
