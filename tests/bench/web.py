"""Time the pages at 100,000 studies, on SQLite and on PostgreSQL: ``python -m tests.bench.web``.

Prints a table in Markdown. ``--only sqlite`` takes one database; ``--studies 5000`` fewer rows.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from db import schema
from db.engine import connect
from tests import servers
from tests.bench import web_list, web_rows, web_viewer
from tests.bench.web_list import Figure, Meter
from tests.servers import free_port

HEAD: Final = "| | p50 | p95 | p95 by the clock | |\n|---|--:|--:|--:|---|"
SERVE: Final = (
    "from triage.commands import loading; loading.begin();"
    "import sys; from pathlib import Path; from triage import settings;"
    "from triage.worklist.app import serve;"
    "serve(settings.load(Path(sys.argv[1])), port=int(sys.argv[2]),"
    " ready=lambda _: loading.settle())"
)
KINDS: Final = ("sqlite", "postgresql")
LIMITS: Final = {
    "list:": 30.0, "search:": 50.0, "HTML": 60_000.0, "first paint": 100.0, "window": 4.0,
    "next slice": 50.0,
}  # fmt: skip
BY_MEDIAN: Final = ("first paint", "window")
"""Held to their median; the others to their 95th percentile."""


def main() -> None:
    """Fill, serve, measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--studies", type=int, default=web_rows.STUDIES)
    given = parser.parse_args()
    failed = 0
    for kind in [given.only] if given.only else KINDS:
        _say(f"\n{kind}, {given.studies:,} studies\n\n{HEAD}")
        for one in measure(kind, given.studies):
            met = holds(one)
            failed += not met
            wall = "" if one.wall_p95 is None else f"{one.wall_p95:,.1f}"
            unit = one.unit if met else f"{one.unit}, MISSED"
            _say(f"| {one.name} | {one.p50:,.1f} | {one.p95:,.1f} | {wall} | {unit} |")
    sys.exit(1 if failed else 0)


def measure(kind: str, studies: int) -> Iterator[Figure]:
    """Give every figure of one database, as each comes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{folder / 'triage.sqlite'}"
        roots = []
        if kind == "postgresql":
            server = stack.enter_context(servers.postgres())
            url = server.new_database("bench")
            roots.append(server.process.pid)
        schema.upgrade(url)
        database = connect(url)
        stack.callback(database.dispose)
        web_rows.fill(database, studies, datetime.now(UTC))
        token = web_rows.sign_in(database)
        address, pid = stack.enter_context(serving(folder, url))
        yield from web_list.measure(address, token, database, Meter(pid, *roots))
        yield from viewer(folder / "viewer")


def viewer(folder: Path) -> Iterator[Figure]:
    """Give the viewer's figures, by the clock in Chromium."""
    folder.mkdir()
    found = web_viewer.measure(folder)
    names = {"window": "window change, 512 x 512", "next": "next slice, after prefetch"}
    for key, name in names.items():
        yield Figure(name, found[f"{key}_p50"], found[f"{key}_p95"])


def holds(one: Figure) -> bool:
    """Tell whether a figure is within its limit, if it has one."""
    for name, limit in LIMITS.items():
        if one.name.startswith(name):
            return (one.p50 if name in BY_MEDIAN else one.p95) < limit
    return True


@contextmanager
def serving(state: Path, url: str) -> Iterator[tuple[str, int]]:
    """Serve the pages from a process of its own; gives their address and its number."""
    port = free_port()
    command = [sys.executable, "-c", SERVE, str(state), str(port)]
    env = {"TRIAGE__DATABASE__URL": url, "TRIAGE__WEB__SESSION_IDLE_S": "7200"}
    with servers.running(command, log=state / "serve.log", env=env) as process:
        servers.wait_until(lambda: servers.accepts(port), process, "the worklist")
        yield f"http://127.0.0.1:{port}", process.pid


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
