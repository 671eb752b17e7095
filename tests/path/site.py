"""A whole site for a test: ``triage up`` in a folder of its own, and a PACS to report to."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from sqlalchemy import func, select

from db.engine import Database, connect
from db.states import FINAL
from db.tables import DecisionRow, InstanceRow, QuarantineRow, StudyRow
from tests.servers import Orthanc, accepts, binary, end, free_port, orthanc, postgres, redis

START_S = 90.0
DCMTK = "/usr/bin"
OPTIONS = {
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.57": "-xs",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}
"""storescu's options by transfer syntax UID."""
DATA = Path(os.environ.get("TRIAGE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


@dataclass(frozen=True)
class Site:
    """A running pipeline."""

    state: Path
    port: int
    web_port: int
    database: Database
    process: subprocess.Popen[bytes]

    def send(self, *paths: Path, check: bool = True) -> None:
        """Send files or folders with DCMTK's storescu, as a modality would.

        One call a transfer syntax, which storescu must be told. Without ``check`` a file that
        storescu or the listener refuses is passed over.
        """
        groups: dict[str, list[str]] = {}
        for path in (one for named in paths for one in _files(named)):
            groups.setdefault(_proposing(path), []).append(str(path))
        for option, files in groups.items():
            command = [
                binary("storescu", DCMTK), option, "--no-halt", "--required", "-aec", "TRIAGE",
                "-aet", "MODALITY", "127.0.0.1", str(self.port), *files,
            ]  # fmt: skip
            environment = {**os.environ, "TCP_NODELAY": "1"}
            done = subprocess.run(
                command, capture_output=True, env=environment, check=False, timeout=300
            )
            assert not check or done.returncode == 0, done.stderr[-2000:]

    def studies(self) -> dict[str, StudyRow]:
        with self.database.reading() as session:
            rows = session.scalars(select(StudyRow)).all()
        return {row.study_instance_uid: row for row in rows}

    def instances(self) -> list[InstanceRow]:
        with self.database.reading() as session:
            return list(session.scalars(select(InstanceRow)))

    def quarantined(self) -> list[QuarantineRow]:
        with self.database.reading() as session:
            return list(session.scalars(select(QuarantineRow)))

    def reports_due(self) -> dict[str, int]:
        """Give how many generations of each study were analysed: each owes one report."""
        analysed = DecisionRow.outcome.in_(("prioritised", "not prioritised"))
        query = (
            select(StudyRow.study_instance_uid, func.count())
            .join(DecisionRow, DecisionRow.study_id == StudyRow.id)
            .where(analysed)
            .group_by(StudyRow.study_instance_uid)
        )
        with self.database.reading() as session:
            return {row[0]: row[1] for row in session.execute(query)}

    def settle(self, expected: int, limit_s: float = 120.0) -> dict[str, StudyRow]:
        """Wait until ``expected`` studies are at rest and the spool is empty; gives them."""
        deadline = time.monotonic() + limit_s
        while True:
            with self.database.reading() as session:
                states = session.scalars(select(StudyRow.state)).all()
            if len(states) >= expected and FINAL.issuperset(states) and not self._waiting():
                studies = self.studies()  # only now: hundreds of rows five times a second cost
                if FINAL.issuperset(row.state for row in studies.values()):
                    return studies
            if time.monotonic() > deadline:
                rows = self.studies().values()
                found = {row.id: (row.state, row.attempts, row.tries) for row in rows}
                pytest.fail(f"not settled: {found}, {self.tail()}")
            time.sleep(0.2)

    def _waiting(self) -> bool:
        return any((self.state / "spool" / "in").glob("*/*.dcm"))

    def pids_of(self, name: str) -> list[int]:
        """Give the site's processes whose command line holds ``name``, for example "listen"."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                ours = self._is_ours(entry)
            except OSError:
                continue
            if ours and name in " ".join(words) and "up" not in words:
                found.append(int(entry.name))
        return sorted(found)

    def _is_ours(self, entry: Path) -> bool:
        """Tell by a process's environment; where only root may read that, by its ancestors."""
        with suppress(PermissionError):
            environment = (entry / "environ").read_bytes().decode(errors="replace")
            return f"TRIAGE_STATE={self.state}\0" in environment
        while entry.name not in {"0", "1", str(self.process.pid)}:
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            entry = entry.with_name(parent)
        return entry.name == str(self.process.pid)

    def kill(self, name: str, limit_s: float = 30.0) -> None:
        """End a process of the site with SIGKILL and see it gone; its supervisor starts another."""
        deadline = time.monotonic() + limit_s
        while not (found := self.pids_of(name)):
            assert time.monotonic() < deadline, f"no process {name}"
            time.sleep(0.1)
        os.kill(found[-1], signal.SIGKILL)
        while found[-1] in self.pids_of(name):  # or its sockets would still take connections
            assert time.monotonic() < deadline, f"the killed process {name} is still there"
            time.sleep(0.01)

    def tail(self) -> str:
        """Give the last log lines, for a failed test."""
        logs = sorted((self.state / "logs").glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text()[-600:]}" for log in logs)


@contextmanager
def site(
    folder: Path, pacs: Orthanc | None, *, database_url: str = "", broker_url: str = "",
    variables: Mapping[str, str] | None = None, **sections: object,
) -> Iterator[Site]:  # fmt: skip
    """Run ``triage up`` until the block ends."""
    state = folder / "state"
    (state / "configs").mkdir(parents=True)
    port, web_port = free_port(), free_port()
    content: dict[str, Any] = {
        "listener": {"port": port, "min_free_bytes": 100_000_000, "peers": "any"},
        "web": {"port": web_port},
        "completeness": {"quiet_s": 2, "quiet_s_by_modality": {}},
        "work": {"lease_s": 5, "retry_first_s": 0.5, "reconcile_s": 0.5, "republish_s": 2},
        "database": {"url": database_url},
        "broker": {"url": broker_url},
        "destinations": [_destination(pacs)] if pacs else [],
        **sections,
    }
    (state / "configs" / "site.yaml").write_text(yaml.safe_dump(content))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRIAGE_")}
    environment |= variables or {}
    command = [sys.executable, "-m", "triage", "up", "--state", str(state)]
    with (folder / "up.log").open("wb") as sink:
        process = subprocess.Popen(command, stderr=sink, env=environment)
    database = None
    try:
        _wait_ready(process, port, web_port, folder, state)
        database = connect(database_url or f"sqlite:///{state / 'triage.sqlite'}")
        yield Site(state, port, web_port, database, process)
    finally:
        if database is not None:
            database.dispose()
        end(process)
        shutil.rmtree(state / "spool", ignore_errors=True)


@dataclass(frozen=True)
class Road:
    """A pipeline, and the PACS that its reports go to."""

    site: Site
    pacs: Orthanc


@contextmanager
def road(kind: str, folder: Path, **sections: object) -> Iterator[Road]:
    """Run a site: "embedded", with SQLite and local workers, or with "servers".

    Those are PostgreSQL, Redis and Celery.
    """
    with orthanc(folder / "orthanc") as pacs:
        if kind == "embedded":
            with site(folder, pacs, **sections) as running:  # type: ignore[arg-type]
                yield Road(running, pacs)
            return
        with redis(folder / "redis") as broker, postgres() as server:
            urls = {"database_url": server.new_database("road"), "broker_url": broker.url}
            with site(folder, pacs, **urls, **sections) as running:  # type: ignore[arg-type]
                yield Road(running, pacs)


def _destination(pacs: Orthanc) -> dict[str, Any]:
    return {
        "name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.dicom_port,
        "deadline_s": 5,
    }  # fmt: skip


def _wait_ready(
    process: subprocess.Popen[bytes], port: int, web_port: int, folder: Path, state: Path
) -> None:
    deadline = time.monotonic() + START_S
    while not (accepts(port) and accepts(web_port) and _workers_ready(state)):
        if process.poll() is not None or time.monotonic() > deadline:
            logs = "\n".join(log.read_text()[-800:] for log in (state / "logs").glob("*.log"))
            pytest.fail(f"the site did not start: {(folder / 'up.log').read_text()[-2000:]} {logs}")
        time.sleep(0.2)


def _workers_ready(state: Path) -> bool:
    logs = [log for log in (state / "logs").glob("worker-*.log") if log.is_file()]
    return len(logs) >= 3 and all("worker.ready" in log.read_text() for log in logs)


def _proposing(path: Path) -> str:
    """Give storescu's option for a file's transfer syntax; its default takes the uncompressed."""
    try:
        syntax = str(read_file_meta_info(path).TransferSyntaxUID)
    except (InvalidDicomError, AttributeError, ValueError, OSError):
        return "-x="
    return OPTIONS.get(syntax, "-x=")


def _files(path: Path) -> list[Path]:
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
