"""The trail to its repositories: nothing lost, nothing waits, whoever is away."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from db import audit
from db.audit import Entry, Event
from db.engine import Database
from tests.servers import free_port
from tests.triage.trail.repository import rsyslog
from tests.triage.trail.schema import valid
from triage.collectors import Audit, FhirFeed, Syslog
from triage.commands.tls import Wish, init
from triage.errors import TryAgain
from triage.tls import TlsPeer, located
from triage.trail.ship import Shipper, run


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with certificates of its own."""
    folder = tmp_path_factory.mktemp("state")
    init(folder, Wish("triage", ("127.0.0.1", "localhost")))
    return folder


def write(database: Database, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        with database.begin() as session:
            entry = Entry(
                event=Event.INSTANCES_ACCESSED, kind="study.opened", action="R", actor="ada",
                object_type="study", object_id=f"1.2.{number}", detail={"n": number},
            )  # fmt: skip
            audit.record(session, entry)
    with database.begin() as session:
        while audit.seal(session):
            pass


def shipper(database: Database, folder: Path, state: Path, port: int, **more: object) -> Shipper:
    to = Syslog(name="arr", host="127.0.0.1", port=port, tls=TlsPeer(), deadline_s=10)
    to = located(to.model_copy(update=more), state)
    return Shipper(database, folder, Audit(batch=7), to)


def studies(lines: list[str]) -> list[str]:
    roots = [valid(line[line.index("<AuditMessage") :].encode()) for line in lines]
    return [
        one.findall("ParticipantObjectIdentification")[0].attrib["ParticipantObjectID"]
        for one in roots
    ]


def until(question: object, limit_s: float = 40) -> None:
    assert callable(question)
    deadline = time.monotonic() + limit_s
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_every_row_reaches_the_repository_in_the_order_of_its_seal(
    database: Database, state: Path, tmp_path: Path
) -> None:
    write(database, 20)
    port = free_port()
    one = shipper(database, tmp_path, state, port)
    with rsyslog(tmp_path / "arr", state / "tls", port) as repository:
        assert [one.ship() for _ in range(4)] == [7, 7, 6, 0]
        until(lambda: len(repository.lines()) >= 20)
        assert studies(repository.lines()) == [f"1.2.{number}" for number in range(20)]
        assert all(line.startswith("85 triage[") for line in repository.lines())
        assert one.waiting() == 0


def test_a_repository_that_is_away_costs_nothing_but_time(
    sqlite_database: Database, state: Path, tmp_path: Path
) -> None:
    write(sqlite_database, 5)
    port = free_port()
    one = shipper(sqlite_database, tmp_path, state, port)
    with pytest.raises(TryAgain, match="audit repository arr"):
        one.ship()
    assert (one.sent, one.waiting()) == (0, 5)
    with rsyslog(tmp_path / "arr", state / "tls", port) as repository:
        assert one.ship() == 5
        os.kill(repository.process.pid, signal.SIGSTOP)  # takes connections, and reads nothing
        write(sqlite_database, 3, first=5)
        slow = shipper(sqlite_database, tmp_path, state, port, deadline_s=0.5)
        with pytest.raises(TryAgain):
            slow.ship()
        assert one.waiting() == 3
        os.kill(repository.process.pid, signal.SIGCONT)
        assert one.ship() == 3
        until(lambda: set(studies(repository.lines())) == {f"1.2.{n}" for n in range(8)})


def test_a_repository_without_our_trust_gets_nothing(
    sqlite_database: Database, state: Path, tmp_path: Path
) -> None:
    write(sqlite_database, 1)
    port = free_port()
    other = tmp_path / "other"
    other.mkdir()
    init(other, Wish("other", ("127.0.0.1",)))
    with rsyslog(tmp_path / "arr", other / "tls", port) as repository:
        with pytest.raises(TryAgain):
            shipper(sqlite_database, tmp_path, state, port).ship()
        assert repository.lines() == []


class Server(ThreadingHTTPServer):
    """A FHIR server's create interaction."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Create)
        self.taken: list[dict[str, object]] = []
        self.refuses_after = 10**9


class Create(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fine = (
            self.path == "/fhir/AuditEvent" and len(self.server.taken) < self.server.refuses_after
        )
        if fine:
            self.server.taken.append(content)
        self.send_response(201 if fine else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def fhir() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_fhir_server_gets_them_too_and_again_after_a_refusal(
    sqlite_database: Database, tmp_path: Path, fhir: Server
) -> None:
    write(sqlite_database, 4)
    to = FhirFeed(name="fhir", url=f"http://127.0.0.1:{fhir.server_port}/fhir")
    one = Shipper(sqlite_database, tmp_path, Audit(), to)
    fhir.refuses_after = 2
    with pytest.raises(TryAgain, match="503"):
        one.ship()
    fhir.refuses_after = 10**9
    assert one.ship() == 4
    ids = {entry["what"]["identifier"]["value"] for r in fhir.taken for entry in r["entity"]}  # type: ignore[attr-defined]
    assert ids == {f"1.2.{number}" for number in range(4)}


def test_a_repository_that_is_away_is_asked_less_and_less_often(
    sqlite_database: Database, state: Path, tmp_path: Path
) -> None:
    write(sqlite_database, 3)
    away = shipper(sqlite_database, tmp_path, state, free_port())
    failures: list[tuple[str, int]] = []
    pauses: list[float] = []
    run(
        away, lambda: len(pauses) >= 3, pauses.append,
        lambda name, count: failures.append((name, count)),
    )  # fmt: skip
    assert failures == [("arr", 1), ("arr", 2), ("arr", 3)]
    assert pauses == [4, 8, 16]


def test_one_that_hangs_delays_no_other(
    url: str, database: Database, tmp_path: Path, fhir: Server
) -> None:
    write(database, 3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        collectors = [
            {"kind": "syslog", "name": "hangs", "host": "127.0.0.1",
             "port": silent.getsockname()[1], "tls": None, "deadline_s": 60},
            {"kind": "fhir", "name": "fhir", "url": f"http://127.0.0.1:{fhir.server_port}/fhir"},
        ]  # fmt: skip
        (tmp_path / "configs").mkdir()
        site = {"database": {"url": url}, "audit": {"collectors": collectors}}
        (tmp_path / "configs" / "site.yaml").write_text(yaml.safe_dump(site))
        process = subprocess.Popen(
            [sys.executable, "-m", "triage", "audit", "ship", "--state", str(tmp_path)]
        )
        try:
            until(lambda: len(fhir.taken) == 3)
        finally:
            process.kill()
            process.wait()


def test_a_mark_that_is_lost_sends_everything_again(
    sqlite_database: Database, tmp_path: Path, fhir: Server
) -> None:
    write(sqlite_database, 2)
    to = FhirFeed(name="fhir", url=f"http://127.0.0.1:{fhir.server_port}/fhir")
    one = Shipper(sqlite_database, tmp_path, Audit(), to)
    one.ship()
    (tmp_path / "audit-sent" / "fhir").write_text("gone")
    assert one.ship() == 2
    assert len(fhir.taken) == 4
