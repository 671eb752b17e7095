"""The manager's rules: who may do what to a work item in which state (PS3.4 Table CC.1.1-2).

Every deed is one transaction: the item, the events for its watchers, and an audit row. A row is
locked before it is judged, so that of two performers who claim it at once one gets it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pydicom.dataset import Dataset
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import audit
from db.engine import now
from db.ups import WorkitemRow
from triage.ups import content, notices
from triage.ups.notices import item_of, state_report
from triage.ups.rows import CREATED, Asker, code_item, find, is_uid, known, note, stripped, write
from triage.ups.words import PUSH, UNSPECIFIED, Event, NotDone, State, Status

BATCH: Final = 200


def create(session: Session, asker: Asker, uid: str, given: Dataset) -> Status:
    """Make a work item, SCHEDULED; gives DONE, or CREATED_MODIFIED where we filled a label in.

    Raises:
        NotDone: nothing was made.
    """
    asker.needs("requester")
    uid = str(uid or given.get("SOPInstanceUID", ""))
    if not is_uid(uid):
        raise NotDone(Status.BAD_VALUE, "The work item needs a UID.")
    content.check_new(given)
    if find(session, uid) is not None:
        raise NotDone(Status.DUPLICATE)
    item = stripped(given)
    for keyword in content.EMPTY:
        if keyword not in item:
            setattr(item, keyword, None)
    modified = not item.WorklistLabel
    item.WorklistLabel = item.WorklistLabel or "TRIAGE"
    item.SOPClassUID, item.SOPInstanceUID = PUSH, uid
    at = now(session)
    row = WorkitemRow(
        sop_instance_uid=uid, state=State.SCHEDULED, content="", created_at=at, updated_at=at
    )
    session.add(row)
    write(row, item, at)
    session.flush()
    notices.cover(session, row)
    notices.tell(session, uid, Event.STATE, state_report(item, State.SCHEDULED))
    note(session, asker, CREATED, uid)
    return Status.CREATED_MODIFIED if modified else Status.DONE


def get(session: Session, asker: Asker, uid: str) -> Dataset:
    """Give an item; never its Transaction UID.

    Raises:
        NotDone: UNKNOWN.
    """
    asker.needs("requester", "performer", "watcher")
    row = known(session, uid)
    note(session, asker, "workitem.read", uid, audit.Event.QUERY)
    return item_of(row)


def update(
    session: Session, asker: Asker, uid: str, given: Dataset, transaction_uid: str
) -> Status:
    """Write attributes of an item: anybody's while it is SCHEDULED, its performer's afterwards.

    Raises:
        NotDone: nothing was changed.
    """
    asker.needs("performer", "requester")
    row = known(session, uid, lock=True)
    _may_update(row, transaction_uid)
    if "ProcedureStepState" in given:
        same = given.ProcedureStepState == State.SCHEDULED
        raise NotDone(Status.NOT_BY_CHANGE if same else Status.BAD_VALUE)
    content.check_values(given)
    item, changes = item_of(row), stripped(given)
    before = item.get("InputReadinessState")
    item.update(changes)
    write(row, item, now(session))
    _tell_update(session, uid, item, changes, readiness=item.get("InputReadinessState") != before)
    notices.cover(session, row)
    note(session, asker, "workitem.updated", uid)
    return Status.DONE


def change_state(
    session: Session, asker: Asker, uid: str, wanted: str, transaction_uid: str
) -> Status:
    """Claim, complete or cancel an item.

    Raises:
        NotDone: nothing was changed.
    """
    asker.needs("performer")
    row = known(session, uid, lock=True)
    if wanted not in set(State):
        raise NotDone(Status.BAD_ARGUMENT, "There is no such state.")
    answer = _judge(row, State(wanted), transaction_uid)
    if answer is not Status.DONE:
        return answer
    item = item_of(row)
    if wanted == State.IN_PROGRESS:
        row.transaction_uid = transaction_uid
    else:
        content.check_final(item, State(wanted))
    _move(session, row, item, State(wanted))
    note(session, asker, f"workitem.{wanted.lower().replace(' ', '-')}", uid)
    return Status.DONE


def request_cancel(session: Session, asker: Asker, uid: str, given: Dataset) -> Status:
    """Cancel what nobody has begun; tell the watchers of what somebody has.

    Raises:
        NotDone: it is COMPLETED, or nobody would hear of it.
    """
    asker.needs("requester", "watcher")
    row = known(session, uid, lock=True)
    state = State(row.state)
    if state is State.COMPLETED:
        raise NotDone(Status.COMPLETED)
    if state is State.CANCELED:
        return Status.ALREADY_CANCELED
    if state is State.SCHEDULED:
        _cancel(session, row, given)
    elif not notices.watchers(session, uid):
        raise NotDone(Status.UNREACHABLE)
    else:
        notices.tell(session, uid, Event.CANCEL_REQUESTED, _asked(asker, given))
    note(session, asker, "workitem.cancel-asked", uid)
    return Status.DONE


def search(
    session: Session, asker: Asker, keys: Dataset, *, limit: int, offset: int = 0
) -> tuple[list[Dataset], bool]:
    """Give whole items that match, oldest first, and whether there are more.

    Raises:
        NotDone: NOT_ALLOWED.
    """
    asker.needs("requester", "performer", "watcher")
    found: list[Dataset] = []
    more = False
    for row in _candidates(session, keys):
        item = item_of(row)
        if not content.matches(item, keys):
            continue
        if offset:
            offset -= 1
            continue
        if len(found) == limit:
            more = True
            break
        found.append(item)
    note(session, asker, "workitem.search", "", audit.Event.QUERY, {"count": len(found)})
    return found, more


def _judge(row: WorkitemRow, wanted: State, transaction_uid: str) -> Status:
    """Give DONE where the change may be made, a warning where it was made before; else raise."""
    if wanted is State.SCHEDULED:
        raise NotDone(Status.NOT_BY_CHANGE)
    if not is_uid(transaction_uid):
        raise NotDone(Status.WRONG_TRANSACTION, "The Transaction UID is missing.")
    state = State(row.state)
    if state is State.SCHEDULED:
        if wanted is State.IN_PROGRESS:
            return Status.DONE
        raise NotDone(Status.NOT_CLAIMED)
    if transaction_uid != row.transaction_uid:
        raise NotDone(Status.WRONG_TRANSACTION)
    if state is wanted:
        return _again(wanted)
    if state is not State.IN_PROGRESS:
        raise NotDone(Status.FINAL)
    return Status.DONE


def _again(state: State) -> Status:
    if state is State.IN_PROGRESS:
        raise NotDone(Status.CLAIMED)
    return Status.ALREADY_COMPLETED if state is State.COMPLETED else Status.ALREADY_CANCELED


def _may_update(row: WorkitemRow, transaction_uid: str) -> None:
    state = State(row.state)
    if state in {State.COMPLETED, State.CANCELED}:
        raise NotDone(Status.FINAL)
    if state is State.SCHEDULED and transaction_uid:
        raise NotDone(Status.NOT_CLAIMED)
    if state is State.IN_PROGRESS and transaction_uid != row.transaction_uid:
        raise NotDone(Status.WRONG_TRANSACTION)


def _cancel(session: Session, row: WorkitemRow, given: Dataset) -> None:
    """Cancel a SCHEDULED item: first IN PROGRESS, then CANCELED, as PS3.4 CC.2.2.3 has it."""
    item = item_of(row)
    _move(session, row, item, State.IN_PROGRESS)
    told = (item.get("ProcedureStepProgressInformationSequence") or [Dataset()])[0]
    told.ProcedureStepCancellationDateTime = f"{now(session):%Y%m%d%H%M%S}+0000"
    told.update(_reasons(given))
    if not told.get("ProcedureStepDiscontinuationReasonCodeSequence"):
        told.ProcedureStepDiscontinuationReasonCodeSequence = [code_item(*UNSPECIFIED[:3])]
    item.ProcedureStepProgressInformationSequence = [told]
    _move(session, row, item, State.CANCELED)


def _asked(asker: Asker, given: Dataset) -> Dataset:
    told = _reasons(given)
    told.RequestingAE = (asker.ae_title or asker.name)[:16]
    return told


def _reasons(given: Dataset) -> Dataset:
    told = Dataset()
    for keyword in (
        "ReasonForCancellation", "ProcedureStepDiscontinuationReasonCodeSequence",
        "ContactURI", "ContactDisplayName",
    ):  # fmt: skip
        if given.get(keyword):
            told.add(given[keyword])
    return told


def _move(session: Session, row: WorkitemRow, item: Dataset, new: State) -> None:
    row.state = new
    write(row, item, now(session))
    notices.tell(session, row.sop_instance_uid, Event.STATE, state_report(item, new))


def _tell_update(
    session: Session, uid: str, item: Dataset, changes: Dataset, *, readiness: bool
) -> None:
    if readiness:
        state = State(item.ProcedureStepState)
        notices.tell(session, uid, Event.STATE, state_report(item, state))
    if "ProcedureStepProgressInformationSequence" in changes:
        told = Dataset()
        told.add(changes["ProcedureStepProgressInformationSequence"])
        notices.tell(session, uid, Event.PROGRESS, told)


def _candidates(session: Session, keys: Dataset) -> Iterator[WorkitemRow]:
    """Give the rows a query could match, oldest first, read in batches."""
    wanted = select(WorkitemRow).order_by(WorkitemRow.id)
    if state := _single(keys, "ProcedureStepState"):
        wanted = wanted.where(WorkitemRow.state == state)
    if uid := _single(keys, "SOPInstanceUID"):
        wanted = wanted.where(WorkitemRow.sop_instance_uid == uid)
    for text in content.whole_texts(keys):
        wanted = wanted.where(WorkitemRow.content.contains(text, autoescape=True))
    last = 0
    while rows := _batch(session.scalars(wanted.where(WorkitemRow.id > last).limit(BATCH))):
        yield from rows
        last = rows[-1].id


def _batch(rows: Iterable[WorkitemRow]) -> Sequence[WorkitemRow]:
    return list(rows)


def _single(keys: Dataset, keyword: str) -> str:
    return _one(keys.get(keyword))


def _one(value: object) -> str:
    """Give a single value that is no pattern and no list, or an empty text."""
    text = str(value or "")
    return "" if any(one in text for one in "*?\\[") else text
