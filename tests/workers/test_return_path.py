"""Chaos on the way back: exactly one object at the PACS or a visible failure, nobody delayed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pynetdicom import evt

from db.engine import Database
from db.states import StudyState
from db.tables import AuditRow, OutboxRow, StudyRow
from tests.builders import dx
from tests.servers import free_port, storescp
from tests.triage.faults import Wire, wire
from tests.triage.peers import REFUSED, Scripted, destination, scripted
from tests.triage.receive.conftest import soon
from tests.workers.house import House, house
from tests.workers.test_road import NOWHERE, REPORTED
from triage.destinations import Dimse
from workers.housekeeping import free_the_dead

QUICK = {"retry_first_s": 0.3, "retry_longest_s": 0.3, "max_tries": 100, "poll_s": 0.02}
DEADLINE_S = 6.0
pytestmark = [
    REFUSED,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@dataclass
class Pair:
    """A site with a healthy destination and one in trouble, its lanes running."""

    site: House
    healthy: Scripted
    began: float

    def row(self, name: str = "trouble") -> OutboxRow:
        return next(one for one in self.site.rows(OutboxRow) if one.destination == name)

    @property
    def study(self) -> StudyRow:
        [one] = self.site.rows(StudyRow)
        return one

    def becomes(self, state: str, *, within_s: float = 15.0) -> None:
        assert soon(lambda: self.row().state == state, within_s), self.row().last_error


@contextmanager
def sending(database: Database, folder: Path, trouble: Dimse, **work: object) -> Iterator[Pair]:
    """Analyse one study and start the lanes; the healthy destination is served meanwhile."""
    healthy = Scripted()
    with scripted(healthy) as good:
        well = good.model_copy(update={"name": "healthy"})
        ill = trouble.model_copy(update={"name": "trouble", "deadline_s": DEADLINE_S})
        with house(
            database, folder, ill, well, reporting=REPORTED, routes=NOWHERE, work={**QUICK, **work}
        ) as site:
            lanes = site.worker.lanes
            assert lanes is not None
            site.worker.bench.warm(["out"])
            site.receive(dx())
            site.worker.lanes = None
            site.work()
            pair = Pair(site, healthy, time.monotonic())
            lanes.start()
            try:
                yield pair
            finally:
                lanes.stop()


def in_time(pair: Pair) -> bool:
    """Tell whether the healthy destination got its report before the other's deadline."""
    done = soon(lambda: pair.row("healthy").state == "sent", DEADLINE_S)
    return done and time.monotonic() - pair.began < DEADLINE_S and len(pair.healthy.stored) == 1


def test_a_pacs_that_hangs_delays_nobody_and_gets_one_object_when_it_answers(
    sqlite_database: Database, tmp_path: Path
) -> None:
    script = Scripted(finds=False)
    with (
        scripted(script) as pacs,
        wire(pacs.port, hang=True) as line,
        sending(sqlite_database, tmp_path, _through(pacs, line)) as pair,
    ):
        assert in_time(pair)
        assert pair.row().state == "queued"
        assert soon(lambda: pair.row().tries > 0, 10)
        assert pair.study.state == StudyState.ANALYSED
        line.heal()
        pair.becomes("sent", within_s=20)
        assert soon(lambda: pair.study.state == StudyState.DELIVERED)
    assert len(script.stored) == 1


def test_a_connection_cut_in_mid_object_costs_nothing_but_time(
    sqlite_database: Database, tmp_path: Path
) -> None:
    script = Scripted(finds=False)
    with (
        scripted(script) as pacs,
        wire(pacs.port, cut_after_bytes=1500) as line,
        sending(sqlite_database, tmp_path, _through(pacs, line)) as pair,
    ):
        assert in_time(pair)
        assert soon(lambda: pair.row().tries > 0, 10)
        assert script.stored == []
        line.heal()
        pair.becomes("sent")
    assert len(script.stored) == 1


def test_a_pacs_that_stores_and_drops_the_connection_is_asked_and_not_sent_again(
    sqlite_database: Database, tmp_path: Path
) -> None:
    script = Scripted()
    with scripted(script) as pacs, wire(pacs.port) as line:
        line.mute = lambda: bool(script.stored) and not script.queries
        with sending(sqlite_database, tmp_path, _through(pacs, line)) as pair:
            assert in_time(pair)
            assert soon(lambda: line.lost > 0)
            line.heal()
            pair.becomes("sent")
            assert pair.row().attempts == 2
    assert (len(script.stored), len(script.queries) >= 1) == (1, True)


def test_a_pacs_that_refuses_connections_gets_one_object_when_it_is_back(
    sqlite_database: Database, tmp_path: Path
) -> None:
    script, port = Scripted(), free_port()
    with sending(sqlite_database, tmp_path, destination(port, "AWAY")) as pair:
        assert in_time(pair)
        assert soon(lambda: pair.row().tries > 1, 10)
        assert pair.row().in_doubt is False
        with scripted(script) as pacs, wire(pacs.port, port=port):
            pair.becomes("sent")
    assert len(script.stored) == 1


@pytest.mark.parametrize(
    ("statuses", "finds", "stores", "last"),
    [
        ([0xA700, 0x0000], True, 2, 0x0000),
        ([0x0111], True, 1, 0x0111),
        ([0xB000], True, 1, 0xB000),
    ],
    ids=["busy", "duplicate", "coerced"],
)
def test_every_answer_that_ends_well_is_one_object(
    sqlite_database: Database,
    tmp_path: Path,
    statuses: list[int],
    finds: bool,
    stores: int,
    last: int,
) -> None:
    script = Scripted(statuses=statuses, finds=finds)
    with scripted(script) as pacs, sending(sqlite_database, tmp_path, pacs) as pair:
        assert in_time(pair)
        pair.becomes("sent")
        assert pair.row().last_status == last
        assert soon(lambda: pair.study.state == StudyState.DELIVERED)
    assert len(script.stored) == stores
    assert len(set(script.stored)) == 1


def test_a_refusal_is_a_visible_failure_and_costs_nobody_else(
    sqlite_database: Database, tmp_path: Path
) -> None:
    script = Scripted(statuses=[0xC000])
    with scripted(script) as pacs, sending(sqlite_database, tmp_path, pacs) as pair:
        assert in_time(pair)
        pair.becomes("refused")
        assert soon(lambda: pair.study.state == StudyState.FAILED)
        assert (pair.row().last_status, pair.study.reason_code) == (0xC000, "refused")
        kinds = [one.event_type for one in pair.site.rows(AuditRow)]
    assert kinds.count("study.failed") == 1
    assert len(script.stored) == 1


@pytest.mark.parametrize("option", ["--refuse", "--abort-during", "--abort-after"])
def test_a_pacs_that_never_takes_it_ends_as_a_visible_failure(
    option: str, sqlite_database: Database, tmp_path: Path
) -> None:
    with (
        storescp(tmp_path / "scp", option) as pacs,
        sending(
            sqlite_database, tmp_path, destination(pacs.port, pacs.ae_title), max_tries=2
        ) as pair,
    ):
        assert in_time(pair)
        pair.becomes("gave-up", within_s=30)
        assert soon(lambda: pair.study.state == StudyState.FAILED, 30)
        assert pair.study.reason_code == "gave-up"


def test_a_duplicate_that_is_not_there_is_tried_until_it_is_a_visible_failure(
    sqlite_database: Database, tmp_path: Path
) -> None:
    script = Scripted(statuses=[0x0111], finds=False)
    with scripted(script) as pacs, sending(sqlite_database, tmp_path, pacs, max_tries=3) as pair:
        assert in_time(pair)
        pair.becomes("gave-up")
        assert soon(lambda: pair.study.state == StudyState.FAILED)
        assert pair.study.reason_code == "gave-up"
    assert len(script.stored) == 3


def test_a_sender_killed_between_the_store_and_its_record_stores_nothing_twice(
    sqlite_database: Database, tmp_path: Path
) -> None:
    victims: list[int] = []

    class Killing(Scripted):
        def answer_store(self, event: evt.Event) -> int:
            status = super().answer_store(event)
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            victims.clear()
            return status

    script = Killing()
    url = sqlite_database.engine.url.render_as_string(hide_password=False)
    with (
        scripted(script) as pacs,
        house(sqlite_database, tmp_path, pacs, reporting=REPORTED, routes=NOWHERE) as site,
    ):
        site.receive(dx())
        site.worker.lanes = None
        site.work()
        with _worker(tmp_path, url, victims) as process:
            assert soon(lambda: process.poll() is not None, 60)
            assert process.returncode == -signal.SIGKILL
        free_the_dead(sqlite_database)
        with _worker(tmp_path, url, []):
            assert soon(lambda: _row(site).state == "sent", 60)
        row = _row(site)
    assert (row.state, row.attempts) == ("sent", 2)
    assert (len(script.stored), len(script.queries)) == (1, 1)


@contextmanager
def _worker(state: Path, url: str, victims: list[int]) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "TRIAGE_STATE": str(state),
        "TRIAGE__DATABASE__URL": url,
        "TRIAGE_CONFIG": str(state / "configs"),
    }
    command = [sys.executable, "-m", "workers", "worker", "--queues", "out"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    victims.append(process.pid)
    try:
        yield process
    finally:
        victims.clear()
        process.terminate()
        process.wait(60)


def _row(site: House) -> OutboxRow:
    [one] = site.rows(OutboxRow)
    return one


def _through(pacs: Dimse, line: Wire) -> Dimse:
    return pacs.model_copy(update={"port": line.port})
