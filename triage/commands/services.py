"""The long-running processes that live in ``triage``: listener, ingestor, web."""

import signal
import sys
import time

from triage import log
from triage.commands import common, loading
from triage.commands.harden import harden
from triage.settings import Settings
from triage.spool import Spool
from triage.stopping import on_stop_signal

TIDY_S = 5.0
"""For a deletion under way when asked to stop."""


def listen(settings: Settings) -> None:
    """Receive until SIGTERM."""
    from triage.receive.listener import serve

    harden()
    log.configure("listen", as_json=not sys.stderr.isatty())
    loading.settle()
    serve(settings)


def ingest(settings: Settings) -> None:
    """Index the spool until SIGTERM. A database or a disk that is away delays; it loses nothing."""
    from sqlalchemy.exc import SQLAlchemyError

    from triage.commands.tidy import Tidy
    from triage.ingest import ingest_all
    from triage.passed_over import PassedOver

    harden()
    log.configure("ingest", as_json=not sys.stderr.isatty())
    stopping = on_stop_signal()
    database = common.open_database(settings)
    spool = Spool(settings.spool, settings.readers)
    tidy, passed = Tidy(database, settings), PassedOver()
    loading.settle()
    log.get().info("ingestor.ready")
    while not stopping():
        tidy.begin_if_due()
        try:
            indexed = ingest_all(database, spool, settings.site.completeness, passed=passed)
        except (SQLAlchemyError, OSError) as why:
            away = "spool.away" if isinstance(why, OSError) else "database.away"
            log.get().warning(away, why=type(why).__name__)
            time.sleep(settings.site.work.reconcile_s)
            continue
        if indexed:
            log.get().info("ingest.indexed", files=indexed)
        else:
            time.sleep(settings.site.work.poll_s)
    tidy.join(TIDY_S)
    database.dispose()


def web(settings: Settings, port: int | None) -> None:
    """Serve the worklist until SIGTERM."""
    from triage.worklist.app import serve
    from triage.worklist.start import check_secrets

    harden()
    log.configure("web", as_json=not sys.stderr.isatty())
    check_secrets(settings)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    serve(settings, port=port, ready=lambda _port: loading.settle())
