"""Storage Commitment for what was sent: asked for in batches, written before and after."""

from datetime import timedelta
from typing import Final

from pydicom.uid import generate_uid

from db import commitments, outbox
from db.commitments import Asking
from db.engine import Database
from triage import deliver, log
from triage.commitment import Promise
from triage.destinations import Dimse
from triage.errors import Broken, TryAgain
from workers.lease import owner

SPARE_S: Final = 60.0
NOT_TAKEN_S: Final = 60.0
"""Before a request that was not taken is made again."""


def request_commitment(database: Database, to: Dimse) -> bool:
    """Ask a PACS for what is due; False when nothing is."""
    transaction_uid = str(generate_uid(prefix=None))
    askings = _claim(database, to, transaction_uid)
    if not askings:
        return False
    error, promises = _asked(transaction_uid, askings, to)
    wait_s = min(NOT_TAKEN_S, to.commitment_retry_s) if error else to.commitment_retry_s
    with database.begin() as session:
        for asking in askings:
            commitments.asked(
                session, asking, error, again=timedelta(seconds=wait_s),
                until=timedelta(seconds=to.commitment_timeout_s), actor=owner(),
            )  # fmt: skip
        for one in promises:
            commitments.take(session, one.transaction_uid, one.sop_instance_uid, one.failure_reason)
    log.get().info(
        "commitment.asked", destination=to.name, objects=len(askings), promised=len(promises)
    )
    return True


def _claim(database: Database, to: Dimse, transaction_uid: str) -> tuple[Asking, ...]:
    whose = outbox.to(to.name)
    with database.reading() as session:
        if not outbox.is_due(session, whose & outbox.TO_COMMIT):
            return ()
    lease = timedelta(seconds=to.deadline_s + SPARE_S)
    with database.begin() as session:
        return commitments.claim(session, whose, transaction_uid, owner=owner(), lease=lease)


def _asked(
    transaction_uid: str, askings: tuple[Asking, ...], to: Dimse
) -> tuple[str, tuple[Promise, ...]]:
    """Give what went wrong, or "", and the promises that came at once."""
    objects = [(one.sop_class_uid, one.sop_instance_uid) for one in askings]
    try:
        return "", deliver.request_commitment(transaction_uid, objects, to)
    except TryAgain as why:
        return str(why), ()
    except Broken as why:
        return why.reason.sentence, ()
