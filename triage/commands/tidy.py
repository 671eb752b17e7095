"""Deleting what is due where the dispatcher may not: by the ingestor, whose user owns the spool."""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from db.engine import Database
from triage import log
from triage.aside import Aside
from triage.record import purge
from triage.retention import struck
from triage.settings import Settings

ACTOR: Final = "ingestor"


class Tidy:
    """Deletes once when it starts, and each day at the site's hour, in a thread of its own."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._last: datetime | None = None
        self._aside = Aside("tidy")

    def begin_if_due(self) -> bool:
        """Start where it is due and the dispatcher has another user; tells whether."""
        at = datetime.now(UTC)
        hour = self._settings.site.retention.nightly_hour_utc
        is_due = self._last is None or self._last < struck(at, hour)
        if self._settings.readers.group is None or not is_due or self._aside.is_busy:
            return False
        self._last = at
        self._aside.begin(self._run)
        return True

    def join(self, timeout_s: float) -> None:
        """Wait for it; what is cut off is done by the next one."""
        self._aside.join(timeout_s)

    def _run(self) -> None:
        places = purge.Places(self._settings.spool, self._settings.results)
        site = self._settings.site
        rules = purge.Rules(site.retention, site.commitment.keep_days)
        try:
            gone = purge.purge(self._database, places, rules, actor=ACTOR)
        except (SQLAlchemyError, OSError) as why:
            log.get().error("tidy.failed", why=type(why).__name__)
            return
        if gone:
            count = sum(one.instances for one in gone)
            log.get().info("tidy.purged", studies=len(gone), instances=count)
