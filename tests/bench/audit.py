"""The audit trail at full size: python -m tests.bench.audit [--rows 10000000] [--part ...]

``questions``: a PostgreSQL with that many audit rows over six years, a partition a month, their
seals, 200,000 studies of 50,000 patients; then the saved questions of the audit page and a view,
each forty times for others: median, 95th percentile and worst, in milliseconds. PostgreSQL has its
default memory. ``verify``: 100,000 sealed rows, walked on SQLite and PostgreSQL. ``cost``: ingest
(512 KiB an instance) and two pages, with and without audit in turns, in one process; a ratio is the
median over rounds, with its interval of 95 %. The product has no switch for that: without means
that the code of ``db.audit.record`` is exchanged for an empty function's here, and that a look
which changes nothing has no transaction. Sealing is timed apart, as often as the dispatcher seals.
"""

import argparse
import gc
import math
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from fastapi import Request
from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from db import audit, schema
from db.audit import Entry
from db.engine import Database, connect, now
from db.tables import AuditRow, UserRow
from tests.builders import dx, spooled
from tests.conftest import opened
from tests.servers import Postgres, postgres
from tests.triage.worklist.builders import add_result, add_study
from tests.triage.worklist.client import Client
from triage import settings as noun
from triage.ingest import ingest_file
from triage.settings import Completeness, Work
from triage.spool import Spool
from triage.trail.rows import Question, answered
from triage.trail.saved import SAVED
from triage.worklist import context, sessions
from triage.worklist.app import create_app
from workers.dispatch import SEAL_S

Effect = Callable[[Session], None]

STUDIES: Final = 200_000
PATIENTS: Final = 50_000
YEARS: Final = 6
ROUNDS: Final = 40
MARGIN_BYTES: Final = 10 * 2**30
BYTES_A_ROW: Final = 1200
"""Row, seal, their indexes and what the write-ahead log holds meanwhile."""
KINDS: Final = """
    CASE WHEN n % 100 < 72 THEN 'instance.received' WHEN n % 100 < 82 THEN 'study.seen'
         WHEN n % 100 < 88 THEN 'worklist.list' WHEN n % 100 < 93 THEN 'report.sent'
         WHEN n % 100 < 96 THEN 'study.analysed' WHEN n % 100 < 98 THEN 'login'
         WHEN n % 100 < 99 THEN 'feedback.given'
         WHEN n % 10000 < 9950 THEN 'report.sent' WHEN n % 10000 < 9990 THEN 'login.refused'
         WHEN n % 10000 < 9998 THEN 'association.rejected'
         WHEN n % 100000 < 99999 THEN 'configuration.changed' ELSE 'break-glass.opened' END
"""
FILL: Final = f"""
INSERT INTO audit (at, event_id, event_type, action, outcome, actor, actor_role, ae_title,
                   network_address, object_type, object_id, detail)
SELECT at, CASE WHEN kind IN ('instance.received', 'report.sent') THEN '110104'
                WHEN kind = 'study.seen' THEN '110103' WHEN kind = 'worklist.list' THEN '110112'
                WHEN kind LIKE 'login%' THEN '110114'
                WHEN kind IN ('association.rejected', 'configuration.changed') THEN '110113'
                WHEN kind LIKE 'break%' THEN '110113' ELSE '110111' END,
       kind, 'R', CASE WHEN kind LIKE '%.re%ed' AND kind <> 'instance.received' THEN 4 ELSE 0 END,
       CASE WHEN kind = 'instance.received' THEN 'ingest' ELSE 'reader' || (n * 31) % 40 END, '',
       CASE WHEN kind = 'instance.received' THEN 'CT' || n % 9 ELSE '' END, '10.0.0.' || n % 250,
       CASE WHEN kind ~ '^(login|association|config|worklist)' THEN '' ELSE 'study' END,
       CASE WHEN kind ~ '^(login|association|config|worklist)' THEN ''
            ELSE '2.25.' || (n / 50 + n * 7 % 40) % {STUDIES} END,
       '{{"generation": 1, "mode": "triage", "number": ' || n || '}}'
FROM (SELECT n, {KINDS} AS kind, CAST(:begin AS timestamptz) + n * CAST(:step AS interval) AS at
      FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n) AS made
"""
SEALS: Final = """
INSERT INTO audit_seal (seq, audit_id, prev_hash, row_hash)
SELECT id, id, md5(id::text) || md5(id::text), md5((id + 1)::text) || md5((id + 1)::text)
FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS id
"""


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def fill(database: Database, rows: int) -> None:
    """Write the studies, then the trail in bulk, a slice after the other, oldest first."""
    with database.begin() as session:
        at = now(session)
        session.execute(
            text(
                "INSERT INTO study (study_instance_uid, state, due_at, received_at,"
                " last_instance_at, fence, attempts, tries, generation, instance_count, outcome,"
                " priority, priority_name, sentence, patient_id, issuer_of_patient_id,"
                " patient_name, patient_birth_date, patient_sex, accession_number, study_date,"
                " study_time, study_description, modality, body_part, source_ae_title)"
                " SELECT '2.25.' || n, 'delivered', now(), now(), now(), 0, 0, 0, 1, 50,"
                " 'not prioritised', 0, '', '', 'P' || n % :patients, '', '', '', '', 'A' || n,"
                " '', '', '', 'CT', '', '' FROM generate_series(0, :most) AS n"
            ),
            {"patients": PATIENTS, "most": STUDIES - 1},
        )
        begin = at.replace(year=at.year - YEARS)
        for month in range(12 * YEARS + 1):
            first = begin.year * 12 + begin.month - 1 + month
            day = f"{first // 12}-{first % 12 + 1:02d}-01"
            session.execute(text("SELECT make_audit_month(CAST(:day AS date))"), {"day": day})
    step = (at - begin) / rows
    size = 200_000
    for first in range(0, rows, size):
        last = min(first + size, rows) - 1
        with database.begin() as session:
            values = {"begin": begin, "step": step, "first": first, "last": last}
            session.execute(text(FILL), values)
            session.execute(text(SEALS), {"first": first + 1, "last": last + 1})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def questions(server: Postgres, rows: int) -> None:
    """Fill, then ask."""
    free = shutil.disk_usage(server.socket_folder).free
    if free < rows * BYTES_A_ROW + MARGIN_BYTES:
        say(f"skipped: {rows} rows need {rows * BYTES_A_ROW >> 30} GiB and a margin of 10")
        return
    url = server.new_database("trail")
    schema.upgrade(url)
    for database in opened(url):
        begun = time.perf_counter()
        fill(database, rows)
        size = "SELECT pg_database_size(current_database()) / 1048576"
        with database.reading() as session:
            mib = session.execute(text(size)).scalar_one()
            parts = len(schema.months(session.connection()))
        say(f"{rows} rows in {parts} partitions, {mib} MiB, {time.perf_counter() - begun:.0f} s")
        dice = random.Random(7)
        for name, ask in _askings(dice).items():
            _report(name, [_timed(database, ask) for _ in range(ROUNDS)])


def _askings(dice: random.Random) -> dict[str, Callable[[Session], int]]:
    """Give each question as the page and the command line ask it, and the views in SQL."""

    def saved(slug: str) -> Callable[[Session], int]:
        known = SAVED[slug]

        def ask(session: Session) -> int:
            patient = f"P{dice.randrange(PATIENTS)}" if known.about == "patient" else None
            study = f"2.25.{dice.randrange(STUDIES)}" if known.about == "study" else None
            one = Question(
                kinds=known.kinds, event=known.event, patient=patient, study=study, limit=100
            )
            return len(list(answered(session, one)))

        return ask

    def by_user(session: Session) -> int:
        one = Question(user=f"reader{dice.randrange(40)}", limit=100)
        return len(list(answered(session, one)))

    def in_sql(session: Session) -> int:
        view = text("SELECT * FROM audit_who_saw_what WHERE patient_id = :one")
        return len(session.execute(view, {"one": f"P{dice.randrange(PATIENTS)}"}).all())

    return {
        **{known.title: saved(slug) for slug, known in SAVED.items()},
        "One user's latest": by_user,
        "audit_who_saw_what WHERE patient_id": in_sql,
    }


def _timed(database: Database, ask: Callable[[Session], int]) -> tuple[float, int]:
    with database.reading() as session:
        begun = time.perf_counter()
        count = ask(session)
        return (time.perf_counter() - begun) * 1000, count


def _report(name: str, found: list[tuple[float, int]]) -> None:
    spent = sorted(one for one, _ in found)
    p95 = spent[int(len(spent) * 0.95) - 1]
    rows = statistics.mean(count for _, count in found)
    say(
        f"{name:48} p50 {statistics.median(spent):8.1f}  p95 {p95:8.1f}  worst {spent[-1]:8.1f} ms"
        f"  {rows:6.1f} rows"
    )


def verify(server: Postgres, folder: Path, rows: int = 100_000) -> None:
    """Seal that many rows and walk the chain."""
    for url in (f"sqlite:///{folder / 'chain.sqlite'}", server.new_database("chain")):
        schema.upgrade(url)
        for database in opened(url):
            with database.begin() as session:
                made = [_plain(number, now(session)) for number in range(rows)]
                session.execute(insert(AuditRow), made)
            begun = time.perf_counter()
            sealed = 1
            while sealed:
                with database.begin() as session:
                    sealed = audit.seal(session)
            middle = time.perf_counter()
            with database.reading() as session:
                found = audit.verify(session)
            assert found.ok
            assert found.sealed == rows
            took = time.perf_counter() - middle
            say(
                f"{database.engine.dialect.name:12} {rows} rows: verified in {took:.1f} s,"
                f" sealed in {middle - begun:.1f} s"
            )


def _plain(number: int, at: datetime) -> dict[str, object]:
    return {
        "at": at, "event_id": "110104", "event_type": "instance.received", "action": "C",
        "outcome": 0, "actor": "ingest", "actor_role": "", "ae_title": "CT1",
        "network_address": "10.0.0.1", "object_type": "study", "object_id": f"2.25.{number // 50}",
        "detail": f'{{"number": {number}}}',
    }  # fmt: skip


def _nothing(session: Session, entry: Entry) -> None: ...  # no free names, no defaults: as record


@contextmanager
def unaudited() -> Iterator[None]:
    """Have every caller of ``record`` in this process call nothing, however it was imported.

    A look that changes something keeps its transaction; one that was only to be noted has none.
    """
    code, note = audit.record.__code__, context.note

    def only_effects(
        request: Request, entry: Entry, effect: Effect | None = None
    ) -> Future[None] | None:
        return note(request, entry, effect) if effect else None

    audit.record.__code__ = _nothing.__code__
    setattr(context, "note", only_effects)  # noqa: B010 - it gives no row to wait for
    try:
        yield
    finally:
        audit.record.__code__ = code
        setattr(context, "note", note)  # noqa: B010


class Ingest:
    """A spool full of instances into a database."""

    def __init__(self, url: str, folder: Path, count: int) -> None:
        self.database, self.folder, self.count = connect(url), folder, count
        self.round = 0

    def run(self) -> float:
        """Give the seconds an instance took."""
        self.round += 1
        spool = Spool(self.folder / f"spool-{self.round}")
        study = f"cost {self.round}"
        paths = spooled(
            spool, *(dx(study=study, seed=n, instance=n, rows=512) for n in range(self.count))
        )
        begun = time.perf_counter()
        for path in paths:
            ingest_file(self.database, spool, Completeness(), path)
        spent = time.perf_counter() - begun
        shutil.rmtree(spool.root)
        return spent / self.count


class Pages:
    """A page of the worklist, asked for by one reader again and again."""

    def __init__(self, client: Client, database: Database, path: str, count: int) -> None:
        self.client, self.database, self.path, self.count = client, database, path, count

    def run(self) -> float:
        """Give the seconds a page took."""
        begun = time.perf_counter()
        for _ in range(self.count):
            assert self.client.get(self.path).status_code == 200
        return (time.perf_counter() - begun) / self.count


class Sealer:
    """Seals as often as the dispatcher does, by the time that went to audited work."""

    def __init__(self, database: Database) -> None:
        self.database, self.worked_s, self.sealed_s = database, 0.0, 0.0
        self.waited_s = {0: 0.0, audit.WINDOW: 0.0}
        self.turns = {0: SEAL_S, audit.WINDOW: Work().reconcile_s}

    def after(self, spent_s: float) -> None:
        """Seal where its time has come: what is new, and at times what committed late."""
        self.worked_s += spent_s
        for back, turn_s in self.turns.items():
            self.waited_s[back] += spent_s
            if self.waited_s[back] >= turn_s:
                self.waited_s[back] = 0.0
                begun = time.perf_counter()
                with self.database.begin() as session:
                    audit.seal(session, back=back)
                self.sealed_s += time.perf_counter() - begun

    @property
    def share(self) -> float:
        """Give the part of the time that goes to sealing."""
        return self.sealed_s / self.worked_s


def cost(server: Postgres, folder: Path, rounds: int) -> None:
    """Run both arms in turns, the first of each pair drawn by lot."""
    urls = {
        "sqlite": f"sqlite:///{folder / 'cost.sqlite'}", "postgresql": server.new_database("cost"),
    }  # fmt: skip
    for name, url in urls.items():
        schema.upgrade(url)
        _compare(f"{name}: ingest, an instance", Ingest(url, folder / name, 5), 6 * rounds)
        with _signed_in(url, folder / f"state-{name}") as (client, database, study):
            for path in ("/studies", f"/studies/{study}"):
                what = "the list" if path == "/studies" else "a study's page"
                _compare(f"{name}: {what}", Pages(client, database, path, 2), 16 * rounds)


def _compare(name: str, arm: Ingest | Pages, rounds: int) -> None:
    dice, sealer, pairs = random.Random(7), Sealer(arm.database), []
    arm.run()  # what is loaded lazily
    for _ in range(rounds):
        spent: dict[bool, float] = {}
        for audited in dice.sample((True, False), 2):
            if audited:
                spent[audited] = arm.run()
                sealer.after(spent[audited] * arm.count)
            else:
                with unaudited():
                    spent[audited] = arm.run()
        pairs.append((spent[True], spent[False]))
    with_ms, without_ms = (statistics.median(one) * 1000 for one in zip(*pairs, strict=True))
    ratios = sorted(100 * (one / other - 1) for one, other in pairs)
    off = math.ceil(math.sqrt(len(ratios)) * 0.98)  # of the median's place, by the sign test
    low, high = (
        ratios[max(len(ratios) // 2 - off, 0)],
        ratios[min(len(ratios) // 2 + off, len(ratios) - 1)],
    )
    say(
        f"{name:32} with {with_ms:7.2f} ms, without {without_ms:7.2f} ms,"
        f" {statistics.median(ratios):+5.1f} % (95 % interval {low:+.1f} to {high:+.1f} %),"
        f" sealing {100 * sealer.share:+.1f} %"
    )


@contextmanager
def _signed_in(url: str, state: Path) -> Iterator[tuple[Client, Database, int]]:
    """A worklist of 300 studies, and a reader signed in."""
    (state / "configs").mkdir(parents=True)
    (state / "configs" / "site.yaml").write_text(f"database: {{url: '{url}'}}\n")
    settings = noun.load(state)
    app = create_app(settings)
    database: Database = app.state.context.database
    with database.begin() as session:
        for number in range(300):
            study = add_study(session, minutes=number)
            add_result(session, study)
        number = study.id
        user = UserRow(
            name="reader", password_hash="-", role="radiologist", created_at=now(session)
        )
        session.add(user)
        session.flush()
        token = sessions.open_session(session, user)
    with Client(app) as client:
        client.cookies.set("triage", token, domain="triage.test")
        gc.collect()
        gc.freeze()  # as the server does when it is up
        yield client, database, number
    app.state.previews.close()
    database.dispose()


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--part", choices=("questions", "verify", "cost"), nargs="*")
    asked = parser.parse_args()
    wanted = asked.part or ("verify", "cost", "questions")
    with postgres("-c", "max_wal_size=4GB") as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "verify" in wanted:
            verify(server, folder)
        if "cost" in wanted:
            cost(server, folder, asked.rounds)
        if "questions" in wanted:
            questions(server, asked.rows)


if __name__ == "__main__":
    main()
