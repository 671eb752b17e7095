"""Who was refused lately, and the command that lets them in: for ``triage doctor``."""

import ipaddress
import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from sqlalchemy import select

from db import schema
from db.engine import now
from db.tables import AuditRow
from triage.commands import common
from triage.commands.checks import Check
from triage.nodes import FILE, let_in
from triage.receive.admission import Door
from triage.receive.negotiation import Rejection
from triage.settings import Settings

LATELY: Final = timedelta(days=1)
KINDS: Final = ("association.rejected", "tls.refused")
SHOWN: Final = 5
Refusal = tuple[str, str, str, str]
"""Kind, code, AE title, address."""


def lines(settings: Settings) -> Iterator[Check]:
    """Give those refused most often in a day who would be refused now as well."""
    if schema.current(settings.database_url) != schema.head():
        return  # the check of the database says so
    door = Door(settings.site.listener, settings.state / FILE)
    found = [one for one in _lately(settings).most_common() if not _is_in(door, one[0])]
    for (kind, code, ae_title, address), count in found[:SHOWN]:
        who = f"{ae_title or 'a caller'} at {address}" if address else ae_title or "a caller"
        often = "once" if count == 1 else f"{count} times"
        shown = f"{who}, {often} in a day: {code.lower().replace('_', ' ') or kind}"
        if code == Rejection.CALLING_AE_TITLE.name and ae_title and address:
            shown += f"; if it may send: {let_in(ae_title, address)}"
        yield Check("refused", ok=True, found=shown)
    if len(found) > SHOWN:
        yield Check("refused", ok=True, found=f"{len(found) - SHOWN} more: triage audit query")


def _lately(settings: Settings) -> Counter[Refusal]:
    counts = Counter[Refusal]()
    with common.opened(settings) as database, database.reading() as session:
        rows = select(AuditRow).where(
            AuditRow.at >= now(session) - LATELY, AuditRow.event_type.in_(KINDS)
        )
        for row in session.scalars(rows):
            detail = json.loads(row.detail)
            key = (row.event_type, str(detail.get("code", "")), row.ae_title, row.network_address)
            counts[key] += int(detail.get("count", 1))
    return counts


def _is_in(door: Door, refusal: Refusal) -> bool:
    """Tell whether the reason for the refusal is gone: the peer was let in since."""
    _, code, ae_title, address = refusal
    if code != Rejection.CALLING_AE_TITLE.name:
        return False
    try:
        ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return door.knows(ae_title, address)
