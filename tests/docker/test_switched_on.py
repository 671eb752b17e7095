"""What a site switches on runs as its unit says: its command, its user, its folders (as root)."""

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import yaml
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from db import audit
from db.engine import connect
from tests.docker.services import WAIT_S, House, build, end, give, rows, wait
from tests.docker.test_compose import optional
from tests.docker.test_systemd import UNITS, sections
from tests.servers import free_port
from tests.triage.dicomweb.service import body, file, kind
from triage.ups import tokens

COMMAND = """
import os, sys
os.environ["TRIAGE__DATABASE__URL"] = sys.argv.pop(1)
from triage.__main__ import main
main()
"""
RECEIVE, WORK, DISPATCH = "triage-receive", "triage-work", "triage-dispatch"


class Repository(ThreadingHTTPServer):
    """An Audit Record Repository that takes AuditEvents."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Create)
        self.taken: list[str] = []


class Create(BaseHTTPRequestHandler):
    server: Repository

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.taken.append(content["resourceType"])
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def repository() -> Iterator[Repository]:
    with Repository() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def house(repository: Repository) -> Iterator[House]:
    """An installation where everything is switched on."""
    if os.geteuid() != 0:
        pytest.skip("only root may start processes under other users")
    root = Path(tempfile.mkdtemp(prefix="triage-switched-"))
    away = {"name": "away", "ae_title": "AWAY", "host": "127.0.0.1", "port": free_port()}
    peer = {"ae_title": "RIS", "addresses": ["127.0.0.1"]}
    collector = {
        "kind": "fhir", "name": "arr", "url": f"http://127.0.0.1:{repository.server_port}/fhir",
    }  # fmt: skip
    site = {
        "listener": {"min_free_bytes": 1},
        "dicomweb": {"server": {"enabled": True, "port": free_port()}},
        "ups": {
            "manager": {"enabled": True, "port": free_port(), "peers": [peer]},
            "performer": {"managers": [{"kind": "dimse", **away}]},
        },
        "priors": {"sources": [away]},
        "audit": {"collectors": [collector]},
    }
    try:
        made = build(root)
        (root / "etc/triage/site.yaml").write_text(yaml.safe_dump(site))
        yield made
    finally:
        shutil.rmtree(root)


def setting(house: House, *names: str) -> int:
    found = yaml.safe_load((house.root / "etc/triage/site.yaml").read_text())
    for name in names:
        found = found[name]
    assert isinstance(found, int)
    return found


def words(unit: str) -> list[str]:
    [command] = sections(UNITS / f"{unit}.service")["Service"]["ExecStart"]
    return command.split()[1:]


def user(unit: str) -> str:
    return sections(UNITS / f"{unit}.service")["Service"]["User"][0]


def test_each_has_a_unit_that_the_target_does_not_start() -> None:
    wants = " ".join(sections(UNITS / "triage.target")["Unit"]["Wants"]).split()
    for name, command in optional().items():
        assert words(f"triage-{name}") == command
        assert f"triage-{name}.service" not in wants


def test_programs_store_by_the_web_as_the_user_who_receives(house: House) -> None:
    url = rows(house, user("triage-dicomweb"))
    database = connect(url)
    with database.begin() as session:
        token = tokens.add(session, "modality", ["sender"], actor="tester")
    database.dispose()
    give(house, RECEIVE, house.root / f"rows-of-{RECEIVE}")
    at = f"http://127.0.0.1:{setting(house, 'dicomweb', 'server', 'port')}"
    service = house.start("triage-dicomweb", COMMAND, url, *words("triage-dicomweb"))
    try:
        wait(lambda: answers(f"{at}/studies"), service)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": kind()}
        done = httpx.post(
            f"{at}/dicomweb/studies", content=body(file()), headers=headers, timeout=60
        )
        assert done.status_code == 200, done.text
    finally:
        complaints = end(service)
    [kept] = house.waiting()
    assert kept.stat().st_uid == house.ids[RECEIVE]
    assert kept.stat().st_mode & 0o777 == 0o600
    assert dcmread(kept).Modality == "DX"
    assert service.returncode == 0, complaints


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code < 500
    except httpx.TransportError:
        return False


def test_work_items_are_managed_and_performed_by_the_user_who_works(house: House) -> None:
    assert user("triage-ups-serve") == user("triage-ups-work") == WORK
    url = rows(house, WORK)
    serving = house.start("triage-ups-serve", COMMAND, url, *words("triage-ups-serve"))
    try:
        wait(lambda: echoes(setting(house, "ups", "manager", "port")), serving)
        performing = house.start("triage-ups-work", COMMAND, url, *words("triage-ups-work"))
        late = threading.Timer(WAIT_S, performing.kill)
        late.start()
        try:
            assert performing.stderr is not None
            assert any("ups.manager-away" in line for line in performing.stderr)  # it called
        finally:
            late.cancel()
            end(performing)
        assert performing.returncode == 0
    finally:
        complaints = end(serving)
    assert serving.returncode == 0, complaints


def echoes(port: int) -> bool:
    entity = AE(ae_title="RIS")
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port, ae_title="TRIAGE_UPS")
    if not association.is_established:
        return False
    try:
        return bool(association.send_c_echo().Status == 0)
    finally:
        association.release()


def test_priors_are_kept_by_the_user_who_receives(house: House) -> None:
    assert user("triage-priors") == RECEIVE
    left = house.spool / "prior_in" / "left.dcm"
    left.write_bytes(b"no DICOM")
    os.chown(left, house.ids[RECEIVE], house.group)
    url = rows(house, RECEIVE)
    service = house.start("triage-priors", COMMAND, url, *words("triage-priors"))
    try:
        wait(lambda: not left.exists(), service)
    finally:
        complaints = end(service)
    assert service.returncode == 0, complaints
    assert "priors.ready" in complaints


def test_the_trail_is_sent_by_the_user_who_keeps_it(house: House, repository: Repository) -> None:
    assert user("triage-audit-ship") == DISPATCH
    url = rows(house, DISPATCH)
    database = connect(url)
    entry = audit.Entry(event=audit.Event.QUERY, kind="worklist.list", actor="reader")
    with database.begin() as session:
        audit.record(session, entry)
        audit.seal(session)
    database.dispose()
    give(house, DISPATCH, house.root / f"rows-of-{DISPATCH}")
    mark = house.state / "audit-sent" / "arr"
    service = house.start("triage-audit-ship", COMMAND, url, *words("triage-audit-ship"))
    try:
        wait(mark.exists, service)
    finally:
        complaints = end(service)
    assert repository.taken == ["AuditEvent"]
    assert mark.read_text() == "1"
    assert mark.stat().st_uid == house.ids[DISPATCH]
    assert service.returncode == 0, complaints
