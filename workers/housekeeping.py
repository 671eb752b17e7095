"""Housekeeping: free the leases of dead workers, bury what keeps crashing, seal the audit trail."""

from sqlalchemy.exc import IntegrityError

from db import audit, checkpoint, lifecycle, outbox, retire
from db.audit import MAJOR, Entry, Event
from db.engine import Database, now
from db.tables import StudyRow
from triage import log
from triage.keys import AUDIT_KEY, site_key
from triage.settings import Settings
from triage.trail.retire import Gone, carry_out, limit, planned
from workers.lease import is_dead

SEALED_AT_ONCE = 1000
NIGHTLY = "nightly"


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


def seal(database: Database, *, back: int | None = None) -> int:
    """Chain the audit rows written since, and those that committed late; gives how many."""
    try:
        with database.begin() as session:
            return audit.seal(session, limit=SEALED_AT_ONCE, back=back)
    except IntegrityError:
        return 0  # another process sealed at the same moment


def seal_new(database: Database) -> None:
    """Chain what is newer than the newest seal.

    Asked for twice a second: whoever committed late waits for the next round of ``keep``, since
    looking back at thousands of ids takes longer than all else.
    """
    while seal(database, back=0) >= SEALED_AT_ONCE:
        pass


def make_months(database: Database) -> int:
    """Have the trail's months ready before their first row; gives how many were made."""
    with database.begin() as session:
        return retire.make_months(session)


def retire_old(database: Database, settings: Settings) -> Gone | None:
    """Move the audit rows whose years are over into an archive; gives what went.

    Raises:
        ConfigError: this role of the database does not own the trail.
        TryAgain: a repository does not have the rows yet.
    """
    with database.reading() as session:
        latest = limit(settings, now(session))
        if latest is None or not retire.has_older(session, latest):
            return None
    plan = planned(database, settings, None, actor=NIGHTLY)
    return carry_out(database, settings, plan, actor=NIGHTLY) if plan else None


def remember(database: Database, settings: Settings) -> None:
    """Note the chain's head outside the database: the witness of a cut tail."""
    key = site_key(settings.secrets, AUDIT_KEY)
    with database.reading() as session:
        checkpoint.take(session, settings.checkpoints, key)
