"""The server as a process: killed in the middle it has lost nothing that it named as stored."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pydicom
import pytest
import yaml

from db.engine import connect
from tests import builders
from tests.servers import accepts, end, free_port, running, wait_until
from tests.triage.dicomweb.service import body, kind, served
from triage.spool import Spool
from triage.ups import tokens

INSTANCE = "00081155"


def prepared(state: Path, migrated: Path, port: int) -> str:
    """Make a site; gives a token."""
    (state / "configs").mkdir(parents=True)
    site = {
        "listener": {"min_free_bytes": 1_000_000},
        "dicomweb": {"server": {"enabled": True, "port": port}},
    }
    (state / "configs" / "site.yaml").write_text(yaml.safe_dump(site))
    shutil.copy(migrated, state / "triage.sqlite")
    database = connect(f"sqlite:///{state / 'triage.sqlite'}")
    with database.begin() as session:
        token = tokens.add(session, "modality", ["sender"], actor="tester")
    database.dispose()
    return token


@contextmanager
def serving(state: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "triage", "dicomweb", "serve", "--state", state]
    log = state / f"server-{len(list(state.glob('server-*')))}.log"
    with running(command, log=log, env={"PYTHONUNBUFFERED": "1"}) as process:
        wait_until(lambda: accepts(port), process, "triage dicomweb serve")
        yield process


def test_what_was_named_as_stored_is_there_after_a_kill_and_the_next_start_serves(
    tmp_path: Path, migrated_file: Path
) -> None:
    state, port = tmp_path / "state", free_port()
    headers = {
        "Authorization": f"Bearer {prepared(state, migrated_file, port)}",
        "Content-Type": kind(),
    }
    url, acknowledged = f"http://127.0.0.1:{port}/dicomweb/studies", set()

    def store(number: int) -> httpx.Response:
        files = [builders.part10(builders.dx(study="s", instance=number * 3 + n)) for n in range(3)]
        return httpx.post(url, content=body(*files), headers=headers, timeout=60)

    with serving(state, port) as process:
        for number in range(4):
            answer = store(number)
            assert answer.status_code == 200
            named = answer.json()["00081199"]["Value"]
            acknowledged |= {one[INSTANCE]["Value"][0] for one in named}
        with socket.create_connection(("127.0.0.1", port), 30) as half:
            half.sendall(
                b"POST /dicomweb/studies HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
                + "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
                + b"\r\n--b0undary\r\n\r\n"
                + bytes(5000)
            )
            os.kill(process.pid, signal.SIGKILL)
            process.wait(30)
    spool = Spool(state / "spool")
    waiting = [pydicom.dcmread(path) for path in spool.incoming(100)]
    assert {str(one.SOPInstanceUID) for one in waiting} == acknowledged
    assert len(acknowledged) == 12
    with serving(state, port) as process:
        assert store(9).status_code == 200
        end(process)
        assert process.returncode == 0
    assert not list(spool.tmp.iterdir())
    assert oct((state / "spool" / "in").stat().st_mode)[-2:] == "00"


def test_a_connection_without_a_request_is_closed(
    tmp_path: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triage.dicomweb.server.HEAD_TIMEOUT_S", 0.2)
    with served(tmp_path / "state", migrated_file) as one:
        host, _, port = one.url.split("/")[2].partition(":")
        with socket.create_connection((host, int(port)), 30) as silent:
            silent.sendall(b"GET /dicomweb/stu")
            assert silent.recv(100) == b""
