"""Subscribing to work items (PS3.4 CC.2.3), and who is told."""

from typing import Final

from pydicom.dataset import Dataset
from sqlalchemy.orm import Session

from triage.ups import notices
from triage.ups.rows import Asker, known, note
from triage.ups.words import FILTERED, GLOBAL, NotDone, Status

WIDE: Final = frozenset({GLOBAL, FILTERED})


def subscribe(
    session: Session, asker: Asker, uid: str, ae_title: str, *, lock: bool = False,
    keys: Dataset | None = None,
) -> Status:  # fmt: skip
    """Subscribe a title to one item, to all, or to all that match.

    Raises:
        NotDone: UNKNOWN, or a filter where there is nothing to filter.
    """
    asker.needs("watcher", "performer")
    if uid not in WIDE:
        known(session, uid)
    if uid == FILTERED and keys is None:
        raise NotDone(Status.BAD_ARGUMENT, "A filtered subscription needs matching keys.")
    notices.subscribe(session, ae_title, uid, lock=lock, keys=keys if uid == FILTERED else None)
    note(session, asker, "workitem.watched", uid, detail={"ae": ae_title})
    return Status.DONE


def unsubscribe(session: Session, asker: Asker, uid: str, ae_title: str) -> Status:
    """End a subscription.

    Raises:
        NotDone: UNKNOWN.
    """
    asker.needs("watcher", "performer")
    if uid not in WIDE:
        known(session, uid)
    notices.unsubscribe(session, ae_title, uid)
    note(session, asker, "workitem.unwatched", uid, detail={"ae": ae_title})
    return Status.DONE


def suspend(session: Session, asker: Asker, uid: str, ae_title: str) -> Status:
    """Keep a global subscription from covering new items.

    Raises:
        NotDone: WRONG_INSTANCE, it is no global subscription's.
    """
    asker.needs("watcher", "performer")
    if uid not in WIDE:
        raise NotDone(Status.WRONG_INSTANCE)
    notices.suspend(session, ae_title)
    note(session, asker, "workitem.unwatched", uid, detail={"ae": ae_title})
    return Status.DONE
