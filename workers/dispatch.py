"""The dispatcher: publishes due studies to a broker, and keeps the house in order.

Any number may run: every effect is a guarded row.
"""

import signal
import time
from datetime import timedelta

from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy.exc import SQLAlchemyError

from db import lifecycle
from db.engine import Database
from triage import log
from triage.errors import ConfigError
from triage.settings import Settings
from workers import housekeeping
from workers.app import TASK, make_app
from workers.nightly import Nightly
from workers.tasks import QUEUES, SENDING

BATCH = 200
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
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    pace, broker = settings.site.work, settings.site.broker.url
    app = make_app(broker, pace.wall_limit_s) if broker else None
    log.get().info("dispatcher.ready", broker=bool(broker))
    nightly = Nightly(database, settings)
    next_keeping = next_note = 0.0
    while not stopping:
        try:
            published = publish(database, app, settings) if app else 0
            if time.monotonic() >= next_keeping:
                housekeeping.keep(database, settings)
                next_keeping = time.monotonic() + pace.reconcile_s
            if time.monotonic() >= next_note:
                next_note = time.monotonic() + NOTE_S
                _note(database, settings)
                nightly.begin_if_due()
        except SQLAlchemyError as why:
            log.get().warning("database.away", why=type(why).__name__)
            published = 0
        if not published:
            time.sleep(pace.poll_s)
    nightly.join(GRACE_S)
    _close(database, settings)


def _close(database: Database, settings: Settings) -> None:
    try:
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
