"""The dispatcher: publishes due studies to a broker, and keeps the house in order.

Any number may run: every effect is a guarded row.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from db import lifecycle
from db.engine import Database
from triage import log
from triage.commands import loading
from triage.errors import ConfigError
from triage.settings import Settings
from triage.stopping import on_stop_signal
from triage.trail import starts
from workers import housekeeping
from workers.app import TASK, make_app
from workers.nightly import Nightly
from workers.tasks import QUEUES, SENDING

ACTOR = "dispatcher"
BATCH = 200
SEAL_S = 0.5
"""Between two sealings of the audit trail."""
NOTE_S = 60.0
"""Between two notes of the audit chain's head outside the database."""
GRACE_S = 5.0
"""For nightly work that is under way at the end."""


def publish(database: Database, app: Celery, settings: Settings) -> int:
    """Publish the numbers of due studies; gives how many. A broker that is away is no loss."""
    pace = settings.site.work
    with database.begin() as session:
        waiting = lifecycle.publishable(
            session,
            after=timedelta(seconds=pace.republish_s),
            limit=BATCH,
            max_attempts=pace.max_attempts,
            besides=[state for state, queue in QUEUES.items() if queue in SENDING],
        )
    for study_id, state in waiting:
        try:
            app.send_task(TASK, (study_id,), queue=QUEUES[state], retry=False)
        except OperationalError as why:
            log.get().warning("broker.away", why=type(why).__name__)
            with database.begin() as session:
                lifecycle.unpublish(session, [one for one, _ in waiting])
            return 0
    return len(waiting)


def serve(database: Database, settings: Settings) -> None:
    """Dispatch and keep house until SIGTERM."""
    stopping = on_stop_signal()
    pace, broker = settings.site.work, settings.site.broker.url
    app = make_app(broker, pace.wall_limit_s) if broker else None
    loading.settle()
    log.get().info("dispatcher.ready", broker=bool(broker))
    nightly = Nightly(database, settings)
    rounds = (
        Every(math.inf, lambda: _begin(database, settings)),
        Every(SEAL_S, lambda: housekeeping.seal_new(database)),
        Every(pace.reconcile_s, lambda: housekeeping.keep(database, settings)),
        Every(NOTE_S, lambda: _look_ahead(database, settings, nightly)),
    )
    while not stopping():
        try:
            published = publish(database, app, settings) if app else 0
            for one in rounds:
                one.run_if_due()
        except SQLAlchemyError as why:
            log.get().warning("database.away", why=type(why).__name__)
            published = 0
        if not published:
            stopping.wait(pace.poll_s)
    nightly.join(GRACE_S)
    _close(database, settings)


@dataclass(slots=True)
class Every:
    """Work that is done again so long after it was last done; at once where it failed."""

    seconds: float
    work: Callable[[], object]
    due: float = 0.0

    def run_if_due(self) -> None:
        """Do it, if it is time."""
        if time.monotonic() >= self.due:
            self.work()
            self.due = time.monotonic() + self.seconds


def _look_ahead(database: Database, settings: Settings, nightly: Nightly) -> None:
    _note(database, settings)
    try:
        housekeeping.make_months(database)
    except DBAPIError as why:  # no row is lost: one without its month waits among the rest
        log.get().error("audit.no-months", why=type(why).__name__, run="triage db grants")
    nightly.begin_if_due()


def _begin(database: Database, settings: Settings) -> None:
    """Put the start on record, and what was configured otherwise before it."""
    with database.begin() as session:
        changed = starts.started(session, settings, actor=ACTOR)
    if changed:
        log.get().info("configuration.changed", parts=changed)


def _close(database: Database, settings: Settings) -> None:
    try:
        with database.begin() as session:
            starts.stopped(session, actor=ACTOR)
        housekeeping.keep(database, settings)
        _note(database, settings)
    except SQLAlchemyError as why:
        log.get().warning("database.away", why=type(why).__name__)


def _note(database: Database, settings: Settings) -> None:
    """Note the chain's head; a file that cannot be written must not stop the road."""
    try:
        housekeeping.remember(database, settings)
    except (ConfigError, OSError, ValueError) as why:
        log.get().error("audit.not-noted", why=type(why).__name__, file=str(settings.checkpoints))
