"""What every deed on a work item needs: who asks, the row, its writing, and its audit row."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from pydicom.dataset import Dataset
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.audit import MINOR, SUCCESS, Entry, Event, record
from db.engine import Database
from db.ups import WorkitemRow
from triage.ups import content
from triage.ups.words import NotDone, Status

Result = TypeVar("Result")
LONGEST_UID: Final = 64
UID_FORM: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
REFUSED: Final = "workitem.refused"
CREATED: Final = "workitem.created"


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: a token's name or an application entity, and what it may do."""

    name: str
    roles: frozenset[str]
    ae_title: str = ""
    address: str = ""

    def needs(self, *roles: str) -> None:
        """Refuse who has none of these roles.

        Raises:
            NotDone: NOT_ALLOWED.
        """
        if self.roles.isdisjoint(roles):
            raise NotDone(Status.NOT_ALLOWED, f"This takes the role {' or '.join(roles)}.")


def note(
    session: Session,
    asker: Asker,
    kind: str,
    uid: str,
    event: Event = Event.PROCEDURE_RECORD,
    detail: dict[str, Any] | None = None,
) -> None:
    """Audit one deed, in the transaction of its effect."""
    entry = Entry(
        event=event,
        kind=kind,
        action="C" if kind == CREATED else "R" if event is Event.QUERY else "U",
        outcome=MINOR if kind == REFUSED else SUCCESS,
        actor=asker.name,
        actor_role=" ".join(sorted(asker.roles))[:32],
        ae_title=asker.ae_title,
        network_address=asker.address,
        object_type="workitem",
        object_id=uid,
        detail=detail,
    )
    record(session, entry)


def do(
    database: Database, asker: Asker, what: tuple[str, str], deed: Callable[[Session], Result]
) -> Result:
    """Do one deed in one transaction; what is refused is audited in another.

    ``what`` is the deed's name and the item's UID.

    Raises:
        NotDone: refused; of two creations at once, the second is a DUPLICATE.
    """
    try:
        with database.begin() as session:
            return deed(session)
    except NotDone as why:
        _refused(database, asker, what, why)
        raise
    except IntegrityError:
        twice = NotDone(Status.DUPLICATE)
        _refused(database, asker, what, twice)
        raise twice from None


def _refused(database: Database, asker: Asker, what: tuple[str, str], why: NotDone) -> None:
    deed, uid = what
    event = Event.SECURITY_ALERT if why.status is Status.NOT_ALLOWED else Event.PROCEDURE_RECORD
    detail = {"deed": deed, "status": f"{int(why.status):04X}"}
    with database.begin() as session:
        note(session, asker, REFUSED, uid if is_uid(uid) else "", event, detail)


def find(session: Session, uid: str, *, lock: bool = False) -> WorkitemRow | None:
    """Give an item's row, locked if it is to be judged."""
    wanted = select(WorkitemRow).where(WorkitemRow.sop_instance_uid == uid)
    if lock:
        wanted = wanted.with_for_update().execution_options(populate_existing=True)
    return session.scalar(wanted)


def known(session: Session, uid: str, *, lock: bool = False) -> WorkitemRow:
    """Give an item's row.

    Raises:
        NotDone: UNKNOWN.
    """
    row = find(session, uid, lock=lock) if is_uid(uid) else None
    if row is None:
        raise NotDone(Status.UNKNOWN)
    return row


def is_uid(text: str) -> bool:
    """Tell whether this is a UID (PS3.5 9.1)."""
    return len(text) <= LONGEST_UID and bool(UID_FORM.fullmatch(text))


def stripped(given: Dataset) -> Dataset:
    """Give what a requester may say: not our own elements, nothing private, no group length."""
    kept = Dataset()
    for element in given:
        if element.keyword and element.keyword not in content.OURS and element.tag.group > 2:
            kept.add(element)
    return kept


def write(row: WorkitemRow, item: Dataset, at: datetime) -> None:
    """Keep an item as it is now."""
    item.SpecificCharacterSet = "ISO_IR 192"
    item.ScheduledProcedureStepModificationDateTime = f"{at:%Y%m%d%H%M%S}+0000"
    row.content, row.updated_at = content.dump(item), at


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """Give one item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
