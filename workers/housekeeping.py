"""Housekeeping: free the leases of dead workers, bury what keeps crashing, seal the audit trail."""

from sqlalchemy.exc import IntegrityError

from db import audit, checkpoint, lifecycle, outbox
from db.audit import MAJOR, Entry, Event
from db.engine import Database
from db.tables import StudyRow
from triage import log
from triage.keys import AUDIT_KEY, site_key
from triage.settings import Settings
from workers.lease import is_dead


def keep(database: Database, settings: Settings) -> None:
    """Do one round. Every part is harmless when another process does it too."""
    free_the_dead(database)
    bury(database, settings.site.work.max_attempts)
    if settings.site.feedback.destinations:
        from workers.feedback import queue_settled  # it builds DICOM: only where it is asked for

        queue_settled(database, settings)
    seal(database)


def free_the_dead(database: Database) -> int:
    """End the leases of workers on this host that no longer live; gives how many."""
    with database.reading() as session:
        owners = {*lifecycle.lease_owners(session), *outbox.lease_owners(session)}
        dead = [name for name in owners if is_dead(name)]
    if not dead:
        return 0
    with database.begin() as session:
        freed = lifecycle.abandon(session, dead)
        documents = outbox.abandon(session, dead)
    log.get().warning("lease.freed", studies=freed, documents=documents)
    return freed + documents


def bury(database: Database, max_attempts: int) -> int:
    """Fail the studies that crashed their last allowed attempt, with an audit row each."""
    with database.begin() as session:
        buried = lifecycle.bury(session, max_attempts=max_attempts)
        for study_id in buried:
            study = session.get_one(StudyRow, study_id)
            entry = Entry(
                event=Event.SECURITY_ALERT,
                kind="study.failed",
                action="U",
                outcome=MAJOR,
                actor="reconciler",
                object_type="study",
                object_id=study.study_instance_uid,
                detail={"reason": "crashed", "attempts": max_attempts},
            )
            audit.record(session, entry)
    for study_id in buried:
        log.get().error("study.buried", study=study_id)
    return len(buried)


def seal(database: Database) -> int:
    """Chain the audit rows written since; gives how many."""
    try:
        with database.begin() as session:
            return audit.seal(session)
    except IntegrityError:
        return 0  # another process sealed at the same moment


def remember(database: Database, settings: Settings) -> None:
    """Note the chain's head outside the database: the witness of a cut tail."""
    key = site_key(settings.secrets, AUDIT_KEY)
    with database.reading() as session:
        checkpoint.take(session, settings.checkpoints, key)
