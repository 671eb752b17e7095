"""Once a day: reconcile what was received with what became of it, then delete what is due."""

from sqlalchemy.exc import SQLAlchemyError

from db.engine import Database, now
from triage import log
from triage.aside import Aside
from triage.errors import ConfigError, TryAgain
from triage.record import purge, reconcile
from triage.record.purge_documents import purge_documents
from triage.retention import struck
from triage.settings import Settings
from workers.housekeeping import retire_old

ACTOR = "nightly"


class Nightly:
    """The nightly work, in a thread of its own: publishing and leases do not wait for it."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._aside = Aside("nightly")

    def begin_if_due(self) -> bool:
        """Start where the last one was before today's hour; tells whether."""
        if self._aside.is_busy or not is_due(self._database, self._settings):
            return False
        self._aside.begin(self._run)
        return True

    def join(self, timeout_s: float) -> None:
        """Wait for it; what is cut off is done by the next one."""
        self._aside.join(timeout_s)

    def _run(self) -> None:
        try:
            work(self._database, self._settings)
        except (SQLAlchemyError, OSError) as why:
            log.get().error("nightly.failed", why=type(why).__name__)


def is_due(database: Database, settings: Settings) -> bool:
    """Tell whether nothing was reconciled since the last time the site's hour struck."""
    with database.reading() as session:
        last = reconcile.latest(session)
        at = now(session)
    return last is None or last.at < struck(at, settings.site.retention.nightly_hour_utc)


def work(database: Database, settings: Settings) -> None:
    """Do it now. Each part is harmless when another process does it too."""
    _retire(database, settings)
    rules = settings.site.retention
    places = purge.Places(settings.spool, settings.results)
    if not places.spool.is_dir():
        return  # nothing was ever received here
    if not purge.is_ours(places.spool) and settings.readers.group is None:
        log.get().error("nightly.not-purged", why="the spool is not this user's")
    documents = purge_documents(database, rules, actor=ACTOR)
    if documents:
        log.get().info("nightly.documents-purged", studies=documents)
    which = purge.Rules(rules, settings.site.commitment.keep_days)
    gone = purge.purge(database, places, which, actor=ACTOR)
    if gone:
        log.get().info("nightly.purged", studies=len(gone), instances=_instances(gone))
    row = reconcile.reconcile(database, places.spool, actor=ACTOR)
    say = log.get().info if row.balanced else log.get().error
    say(
        "nightly.reconciled", received=row.received, analysed=row.analysed, excluded=row.excluded,
        quarantined=row.quarantined, still_open=row.still_open,
        differences={one.code: one.count for one in reconcile.differences(row)},
    )  # fmt: skip


def _retire(database: Database, settings: Settings) -> None:
    """Archive the audit rows whose years are over; where that may not be, the rest goes on."""
    try:
        gone = retire_old(database, settings)
    except (ConfigError, TryAgain, OSError) as why:
        log.get().error("nightly.not-retired", why=str(why))
        return
    if gone:
        log.get().info("nightly.retired", rows=gone.rows, seal=gone.seq, archive=gone.archive.name)


def _instances(gone: list[purge.Candidate]) -> int:
    return sum(one.instances for one in gone)
