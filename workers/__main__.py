"""Doors to the processes that run steps: ``python -m workers worker|dispatch|run``.

The ``triage`` command starts them; nothing in ``triage`` imports this package.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

if __name__ == "__main__":  # before the imports that cost
    from triage.commands import loading

    loading.begin()

from triage import log, rules
from triage import settings as configuration
from triage.commands import common, loading
from triage.commands.harden import harden
from triage.errors import TriageError

KNOWN = ("cpu", "gpu", "out")


def main(arguments: list[str] | None = None) -> int:
    """Run one worker process; what needs set-up first is one line and not a traceback."""
    chosen = _parser().parse_args(arguments)
    log.hush()
    try:
        return _run(chosen) if chosen.door == "run" else _serve(chosen)
    except TriageError as why:
        sys.stderr.write(f"triage: {why}\n")
        return common.SETUP


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers")
    doors = parser.add_subparsers(dest="door", required=True)
    worker = doors.add_parser("worker")
    worker.add_argument("--queues", type=_queues, default="cpu,gpu,out")
    worker.add_argument("--concurrency", type=int, default=1)
    doors.add_parser("dispatch")
    offline = doors.add_parser("run")
    offline.add_argument("paths", nargs="+")
    offline.add_argument("--json", action="store_true")
    offline.add_argument("--sr")
    return parser


def _queues(text: str) -> list[str]:
    """Refuse a queue that no step serves: its worker would wait for ever."""
    queues = sorted({name.strip() for name in text.split(",")})
    if unknown := set(queues) - set(KNOWN):
        msg = f"no queue {', '.join(sorted(unknown))}; there are {', '.join(KNOWN)}"
        raise argparse.ArgumentTypeError(msg)
    return queues


def _run(chosen: argparse.Namespace) -> int:
    from workers import offline

    loading.settle()
    return offline.run(chosen.paths, as_json=chosen.json, sr=chosen.sr)


def _serve(chosen: argparse.Namespace) -> int:
    harden()
    settings = configuration.load()
    rules.check(settings.routes)
    log.configure(chosen.door, as_json=not sys.stderr.isatty())
    database = common.open_database(settings)
    if chosen.door == "dispatch":
        from workers import dispatch

        dispatch.serve(database, settings)
        return 0
    if settings.site.broker.url and (carried := sorted(set(chosen.queues) - {"out"})):
        from workers import app

        database.dispose()
        with _senders_beside(chosen.queues):
            app.serve(carried, chosen.concurrency)
        return 0
    from workers import local

    local.serve(database, settings, chosen.queues)
    return 0


@contextmanager
def _senders_beside(queues: list[str]) -> Iterator[None]:
    """Run the lanes in a process of their own, where they are wanted: no broker carries them."""
    if "out" not in queues:
        yield
        return
    command = [sys.executable, "-m", "workers", "worker", "--queues", "out"]
    senders = subprocess.Popen(command)  # noqa: S603 - our own interpreter and module
    try:
        yield
    finally:
        senders.terminate()
        senders.wait()


if __name__ == "__main__":
    sys.exit(main())
