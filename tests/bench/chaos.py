"""Kill a working hospital at random, and see that nothing is lost or said twice.

    python -m tests.bench.chaos --minutes 10 --seed 1 [--embedded]

``triage simulate --hostile`` sends to a site with PostgreSQL, Redis and Orthanc (or, embedded, with
SQLite and local workers) while its processes are killed, frozen and cut off by a seeded schedule.
Then the faults stop, the site drains, and the ledger of what was acknowledged is held against rows,
files, PACS and audit trail. Prints JSON; exit 1 when an invariant does not hold.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db import audit
from db.states import FINAL, StudyState
from db.tables import DecisionRow, DetectionRow, InstanceRow, OutboxRow, StudyRow
from tests import servers
from tests.path.site import Site, site
from tests.path.test_chaos import sr_counts
from triage.commands.simulate_ledger import Answer, read
from triage.spool import digest, stored_path
from triage.worklist.auth import create_user

VICTIMS = {
    "triage listen": 3,
    "triage ingest": 3,
    "workers dispatch": 2,
    "queues cpu": 3,
    "queues gpu": 4,
    "queues out": 3,
    "triage web": 1,
}
"""What of the site is killed, and how often in proportion."""
FAULTS = {"kill": 12, "freeze": 2, "flush": 2, "cut database": 1, "freeze the PACS": 1}
EVERY_S = (1.0, 4.0)
FROZEN_S = (2.0, 9.0)
"""Some longer than the lease of 5 s: a worker that wakes must find itself fenced off."""
DRAIN_S = 420
OPEN_S = 180
"""For the hospital to open: the faults begin with it."""
PASSWORD = "not a secret, in a folder that goes"


@dataclass
class Chaos:
    """The faults, chosen by seed and counted."""

    running: Site
    pacs: servers.Orthanc
    broker: servers.Redis | None
    postgres: servers.Postgres | None
    dice: random.Random
    done: Counter[str] = field(default_factory=Counter)

    def until(self, over: Callable[[], bool]) -> None:
        while not over():
            time.sleep(self.dice.uniform(*EVERY_S))
            self._fault(self.dice.choices(list(FAULTS), list(FAULTS.values()))[0])

    def _fault(self, kind: str) -> None:
        if kind in ("kill", "freeze"):
            self._strike(kind, self.dice.choices(list(VICTIMS), list(VICTIMS.values()))[0])
        elif kind == "flush" and self.broker:
            import redis

            with redis.Redis.from_url(self.broker.url) as client:
                client.flushall()
            self.done[kind] += 1
        elif kind == "cut database" and self.postgres:
            self._cut(self.postgres)
            self.done[kind] += 1
        elif kind == "freeze the PACS":
            self._freeze(self.pacs.process.pid)
            self.done[kind] += 1

    def _strike(self, kind: str, name: str) -> None:
        found = self.running.pids_of(name)
        if not found:
            return
        if kind == "kill":
            os.kill(self.dice.choice(found), signal.SIGKILL)
        else:
            self._freeze(found[-1])
        self.done[f"{kind} {name}"] += 1

    def _freeze(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.dice.uniform(*FROZEN_S))
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return

    def _cut(self, server: servers.Postgres) -> None:
        dsn = f"host={server.socket_folder} port={server.port} user=postgres dbname=postgres"
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = 'chaos' AND pid <> pg_backend_pid()"
            )


def broken(running: Site, pacs: servers.Orthanc, ledger: Path) -> Iterator[str]:
    """Name every invariant that does not hold."""
    spool = running.state / "spool"
    if left := [*spool.glob("in/*/*.dcm")]:
        yield f"{len(left)} files wait in the spool"
    with running.database.reading() as session:
        yield from _kept(session, spool, ledger)
        studies = session.scalars(select(StudyRow)).all()
        doubtful = {one.id: one for one in studies if one.state == StudyState.HELD}
        yield from _at_rest(session, studies)
        yield from _said_once(session, set(doubtful))
        if (bad := audit.verify(session).first_bad_seq) is not None:
            yield f"the audit trail is broken at {bad}"
    due, there = running.reports_due(), sr_counts(pacs)
    uids = {*due, *there} - {one.study_instance_uid for one in doubtful.values()}
    if wrong := {uid for uid in uids if due.get(uid) != there.get(uid)}:
        yield f"{len(wrong)} studies have not the reports they owe at the PACS"


def _kept(session: Session, spool: Path, ledger: Path) -> Iterator[str]:
    """Hold rows and files against what was acknowledged."""
    promised = {(one.instance, one.sha256) for one in read(ledger) if one.answer is Answer.STORED}
    rows = session.scalars(select(InstanceRow)).all()
    if lost := promised - {(row.sop_instance_uid, row.sha256) for row in rows}:
        yield f"{len(lost)} of {len(promised)} acknowledged instances have no row"
    if spoilt := [row for row in rows if not _is_whole(spool, row.sha256)]:
        yield f"{len(spoilt)} kept files are gone or changed"


def _at_rest(session: Session, studies: Sequence[StudyRow]) -> Iterator[str]:
    if restless := Counter(str(one.state) for one in studies if one.state not in FINAL):
        yield f"studies not at rest: {dict(restless)}"
    if leased := [one for one in studies if one.leased_by is not None]:
        yield f"{len(leased)} leases are held"
    failed = Counter(one.reason_code for one in studies if one.state == StudyState.FAILED)
    if failed:
        yield f"studies failed: {dict(failed)}"


def _said_once(session: Session, doubtful: set[int]) -> Iterator[str]:
    """Look for a second word on one generation, and for reports that wait or were given up."""
    for table in (DecisionRow, DetectionRow):
        groups = select(func.count()).select_from(table)
        if set(session.scalars(groups.group_by(table.study_id, table.generation))) - {1}:
            yield f"a generation has several rows in {table.__tablename__}"
    rows = session.scalars(select(OutboxRow)).all()
    unsent = Counter(
        row.state for row in rows if row.state != "sent" and row.study_id not in doubtful
    )
    if unsent:
        yield f"reports not sent: {dict(unsent)}"


def _is_whole(spool: Path, sha256: str) -> bool:
    path = stored_path(spool, sha256)
    return path.is_file() and digest(path) == sha256


def sender(running: Site, folder: Path, arguments: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start the hospital around a site that runs."""
    with running.database.begin() as session:
        create_user(session, "chaos", PASSWORD, "radiologist")
    (folder / "password").write_text(PASSWORD)
    speed = 60.0
    command = [
        sys.executable, "-m", "triage", "simulate", "--json", "--hostile",
        "--to", f"TRIAGE@127.0.0.1:{running.port}", "--calling", "CHAOS",
        "--web", f"http://127.0.0.1:{running.web_port}", "--user", "chaos",
        "--password-file", str(folder / "password"), "--state", str(running.state),
        "--seed", str(arguments.seed), "--hours", str(arguments.minutes * speed / 60),
        "--speed", str(speed), "--rate", str(arguments.rate), "--size-px", "64",
        "--quiet-s", "3", "--limit-s", str(DRAIN_S), "--out", str(folder / "out"),
    ]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRIAGE_")}
    with (folder / "simulate.json").open("wb") as sink, (folder / "simulate.log").open("wb") as log:
        return subprocess.Popen(command, stdout=sink, stderr=log, env=environment)


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Give what was done, what the hospital says, and what does not hold."""
    with ExitStack() as ends:
        pacs = ends.enter_context(servers.orthanc(folder / "orthanc"))
        broker = postgres = None
        database = url = ""
        if not arguments.embedded:
            broker = ends.enter_context(servers.redis(folder / "redis"))
            postgres = ends.enter_context(servers.postgres())
            database, url = postgres.new_database("chaos"), broker.url
        running = ends.enter_context(
            site(
                folder, pacs, database_url=database, broker_url=url,
                completeness={"quiet_s": 3, "quiet_s_by_modality": {}},
                work={"lease_s": 5, "retry_first_s": 0.5, "reconcile_s": 0.5, "republish_s": 2,
                      "max_attempts": 20, "retry_longest_s": 5},
            )
        )  # fmt: skip
        hospital = sender(running, folder, arguments)
        opened = time.monotonic() + OPEN_S
        while not (folder / "out" / "ledger.jsonl").is_file() and time.monotonic() < opened:
            time.sleep(0.1)
        chaos = Chaos(running, pacs, broker, postgres, random.Random(arguments.seed))
        over = time.monotonic() + arguments.minutes * 60
        chaos.until(lambda: time.monotonic() > over or hospital.poll() is not None)
        hospital.wait(DRAIN_S + 300)
        found = list(broken(running, pacs, folder / "out" / "ledger.jsonl"))
        said = (folder / "simulate.json").read_text()
        if not said:
            found.append(
                "the hospital ended early: " + (folder / "simulate.log").read_text()[-800:]
            )
        summary = json.loads(said or "{}")
        found += [f"the hospital says: {one}" for one in summary.get("problems", [])]
        if found:
            found.append(running.tail())
    return {"broken": found, "faults": dict(chaos.done), "hospital": summary}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1.0, help="times the usual arrivals")
    parser.add_argument("--embedded", action="store_true", help="SQLite, no broker")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=os.environ.get("TMPDIR")) as name:
        answer = run(arguments, Path(name))
    sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    return 1 if answer["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
