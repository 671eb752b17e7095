"""Doors to the processes that run steps: ``python -m workers worker|dispatch|run``.

The ``triage`` command starts them; nothing in ``triage`` imports this package.
"""

import argparse
import sys

from db import schema
from db.engine import connect
from triage import log, rules
from triage import settings as configuration


def main(arguments: list[str] | None = None) -> int:
    """Run one worker process."""
    parser = argparse.ArgumentParser(prog="python -m workers")
    doors = parser.add_subparsers(dest="door", required=True)
    worker = doors.add_parser("worker")
    worker.add_argument("--queues", default="cpu,gpu,out")
    worker.add_argument("--concurrency", type=int, default=1)
    doors.add_parser("dispatch")
    offline = doors.add_parser("run")
    offline.add_argument("paths", nargs="+")
    offline.add_argument("--json", action="store_true")
    offline.add_argument("--sr")
    chosen = parser.parse_args(arguments)
    if chosen.door == "run":
        from workers import offline as door

        return door.run(chosen.paths, as_json=chosen.json, sr=chosen.sr)
    return _serve(chosen)


def _serve(chosen: argparse.Namespace) -> int:
    settings = configuration.load()
    rules.check(settings.routes)
    log.configure(chosen.door, as_json=not sys.stderr.isatty())
    database = connect(settings.database_url)
    schema.require_head(database)
    if chosen.door == "dispatch":
        from workers import dispatch

        dispatch.serve(database, settings)
        return 0
    queues = sorted(set(chosen.queues.split(",")))
    if settings.site.broker.url:
        from workers import app

        database.dispose()
        app.serve(queues, chosen.concurrency)
        return 0
    from workers import local

    local.serve(database, settings, queues)
    return 0


if __name__ == "__main__":
    sys.exit(main())
