"""Who is told what: subscriptions, and the event reports that wait for their takers."""

from collections.abc import Collection, Iterable
from datetime import timedelta

from pydicom.dataset import Dataset
from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from db.engine import now
from db.ups import NoticeRow, SubscriptionRow, WorkitemRow
from triage.ups import content
from triage.ups.words import FILTERED, FINAL, GLOBAL, Event, State

KEEP_SENT = timedelta(days=1)


def subscribe(
    session: Session, ae_title: str, uid: str, *, lock: bool, keys: Dataset | None = None
) -> None:
    """Note a subscription, and send the first state report of each item it begins with.

    Table CC.2.3-2: a global subscription covers every item there is and every new one; without a
    deletion lock, existing items make no first report.
    """
    _put(session, ae_title, uid, lock=lock, keys=keys)
    if uid not in {GLOBAL, FILTERED}:
        _first_report(session, ae_title, uid)
        return
    for row in session.scalars(select(WorkitemRow).where(WorkitemRow.state.not_in(FINAL))):
        if keys is None or content.matches(item_of(row), keys):
            _put(session, ae_title, row.sop_instance_uid, lock=lock)
            if lock:
                _first_report(session, ae_title, row.sop_instance_uid)


def unsubscribe(session: Session, ae_title: str, uid: str) -> None:
    """Forget a subscription; the global one takes every other of the same title with it."""
    gone = delete(SubscriptionRow).where(SubscriptionRow.ae_title == ae_title)
    if uid not in {GLOBAL, FILTERED}:
        gone = gone.where(SubscriptionRow.sop_instance_uid == uid)
    session.execute(gone)


def suspend(session: Session, ae_title: str) -> None:
    """Stop covering new items; what is subscribed stays subscribed."""
    session.execute(
        delete(SubscriptionRow).where(
            SubscriptionRow.ae_title == ae_title,
            SubscriptionRow.sop_instance_uid.in_([GLOBAL, FILTERED]),
        )
    )


def cover(session: Session, row: WorkitemRow) -> None:
    """Subscribe to a new or changed item whoever asked for all, or for such."""
    wide = select(SubscriptionRow).where(SubscriptionRow.sop_instance_uid.in_([GLOBAL, FILTERED]))
    for one in session.scalars(wide):
        keys = content.parse(one.keys) if one.keys else None
        if keys is None or content.matches(item_of(row), keys):
            _put(session, one.ae_title, row.sop_instance_uid, lock=one.deletion_lock, fresh=True)


def watchers(session: Session, uid: str) -> list[str]:
    """Give the titles subscribed to an item."""
    wanted = select(SubscriptionRow.ae_title).where(SubscriptionRow.sop_instance_uid == uid)
    return list(session.scalars(wanted.order_by(SubscriptionRow.id)))


def tell(session: Session, uid: str, event: Event, told: Dataset) -> None:
    """Have an event wait for everybody subscribed to the item."""
    queue(session, watchers(session, uid), uid, event, told)


def state_report(item: Dataset, state: State) -> Dataset:
    """Give the attributes of event 1, of an item in ``state``."""
    told = Dataset()
    told.ProcedureStepState = state.value
    told.InputReadinessState = item.get("InputReadinessState", "")
    stopped = (item.get("ProcedureStepProgressInformationSequence") or [Dataset()])[0]
    for keyword in ("ReasonForCancellation", "ProcedureStepDiscontinuationReasonCodeSequence"):
        if state is State.CANCELED and keyword in stopped:
            told.add(stopped[keyword])
    return told


def waiting(session: Session, ae_titles: Collection[str], *, limit: int = 50) -> list[NoticeRow]:
    """Give the events that wait for these titles and are due, oldest first."""
    at = now(session)
    return list(
        session.scalars(
            select(NoticeRow)
            .where(NoticeRow.ae_title.in_(ae_titles), NoticeRow.sent_at.is_(None))
            .where(NoticeRow.due_at <= at)
            .order_by(NoticeRow.id)
            .limit(limit)
        )
    )


def taken(session: Session, notice_ids: Iterable[int]) -> None:
    """Note that an event reached its taker."""
    at = now(session)
    for notice_id in notice_ids:
        row = session.get(NoticeRow, notice_id)
        if row is not None:
            row.sent_at = at


def later(session: Session, notice_id: int, wait: timedelta) -> None:
    """Note that an event's taker was away."""
    row = session.get(NoticeRow, notice_id)
    if row is not None:
        row.attempts += 1
        row.due_at = now(session) + wait * min(row.attempts, 30)


def forget(session: Session, keep: timedelta) -> None:
    """Drop events that were taken a day ago, or that nobody took in time."""
    at = now(session)
    session.execute(
        delete(NoticeRow).where(or_(NoticeRow.sent_at < at - KEEP_SENT, NoticeRow.at < at - keep))
    )


def item_of(row: WorkitemRow) -> Dataset:
    """Give a row's work item, without its lock."""
    item = content.kept(row.content)
    item.ProcedureStepState = row.state
    return item


def _put(
    session: Session, ae_title: str, uid: str, *, lock: bool, keys: Dataset | None = None,
    fresh: bool = False,
) -> None:  # fmt: skip
    """Write a subscription; a ``fresh`` one leaves what a watcher chose for the item itself."""
    row = session.scalar(
        select(SubscriptionRow).where(
            SubscriptionRow.ae_title == ae_title, SubscriptionRow.sop_instance_uid == uid
        )
    )
    if row is None:
        row = SubscriptionRow(ae_title=ae_title, sop_instance_uid=uid)
        session.add(row)
    elif fresh:
        return
    row.deletion_lock = lock
    row.keys = content.dump(keys) if keys is not None else ""
    session.flush()


def _first_report(session: Session, ae_title: str, uid: str) -> None:
    row = session.scalars(select(WorkitemRow).where(WorkitemRow.sop_instance_uid == uid)).one()
    told = state_report(item_of(row), State(row.state))
    queue(session, [ae_title], uid, Event.STATE, told)


def queue(
    session: Session, ae_titles: Iterable[str], uid: str, event: Event, told: Dataset
) -> None:
    """Have an event wait for these titles."""
    at = now(session)
    for ae_title in ae_titles:
        session.add(
            NoticeRow(
                ae_title=ae_title, sop_instance_uid=uid, event_type=int(event),
                content=content.dump(told), at=at, due_at=at,
            )
        )  # fmt: skip
    session.flush()
