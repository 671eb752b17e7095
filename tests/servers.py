"""Real peers for tests: a PACS, a broker, a database, each on free loopback ports.

Every one is a context manager, is ended by its process id, and skips the test where its binary
is not installed.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

START_S = 30.0
PORTS = range(20_000, 32_000)
DICE = random.SystemRandom()
"""Never seeded: processes of one run must not draw the same ports."""


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc; it keeps the first content of an instance that is sent twice."""

    dicom_port: int
    http_port: int
    ae_title: str
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self._request("GET", path))

    def get_bytes(self, path: str) -> bytes:
        return self._request("GET", path)

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """Post bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return json.loads(self._request("POST", path, data))

    def delete(self, path: str) -> None:
        self._request("DELETE", path)

    def find(self, level: str, **query: str) -> list[dict[str, Any]]:
        """Look for "Study", "Series" or "Instance" resources by DICOM keywords, expanded."""
        found = self.post("/tools/find", {"Level": level, "Query": query, "Expand": True})
        assert isinstance(found, list)
        return found

    def _request(self, method: str, path: str, data: bytes | None = None) -> bytes:
        url = f"http://127.0.0.1:{self.http_port}{path}"
        request = urllib.request.Request(url, data=data, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            content = answer.read()
        assert isinstance(content, bytes)
        return content


@dataclass(frozen=True)
class Scp:
    """A running DCMTK server and the folder it writes to."""

    port: int
    ae_title: str
    folder: Path
    process: subprocess.Popen[bytes]

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_file())


@dataclass(frozen=True)
class Redis:
    port: int
    url: str
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class Postgres:
    port: int
    socket_folder: Path
    process: subprocess.Popen[bytes]

    def url(self, database: str = "postgres") -> str:
        """Give SQLAlchemy's URL over the Unix socket."""
        return (
            f"postgresql+psycopg://postgres@/{database}?host={self.socket_folder}&port={self.port}"
        )

    def new_database(self, name: str) -> str:
        """Create an empty database and give its URL."""
        import psycopg

        dsn = f"host={self.socket_folder} port={self.port} user=postgres dbname=postgres"
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)


def free_port() -> int:
    """Give a port that nobody listens at, below those that the kernel hands to whoever calls."""
    while True:
        port = DICE.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def binary(name: str, *folders: str) -> str:
    """Give the path of a program, in ``folders`` before PATH, or skip the test.

    pynetdicom installs scripts of the same names as DCMTK's programs.
    """
    places = [*folders, os.environ["PATH"], "/usr/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + START_S
    while not ready():
        if process.poll() is not None:
            pytest.fail(f"{what} ended with {process.returncode} while starting")
        if time.monotonic() > deadline:
            pytest.fail(f"{what} was not ready after {START_S:.0f} s")
        time.sleep(0.02)


def end(process: subprocess.Popen[bytes], with_signal: int = signal.SIGTERM) -> None:
    """End a server that we started, also when it is stopped or deaf."""
    if process.poll() is None:
        process.send_signal(with_signal)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


@contextmanager
def running(
    command: Sequence[object], *, log: Path, env: dict[str, str] | None = None, user: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in the background, its output in ``log``, and end it afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            **_as_user(user),
        )
    try:
        yield process
    finally:
        end(process)


def _as_user(user: str) -> dict[str, Any]:
    return {"user": user, "group": user, "extra_groups": [], "cwd": "/"} if user else {}


@contextmanager
def orthanc(folder: Path, ae_title: str = "ORTHANC", **settings: object) -> Iterator[Orthanc]:
    """Run Orthanc with its storage in ``folder``; ``settings`` go into its configuration."""
    program = binary("Orthanc")
    folder.mkdir(parents=True, exist_ok=True)
    dicom_port, http_port = free_port(), free_port()
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": ae_title,
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "UnknownSopClassAccepted": True,
        "OverwriteInstances": False,
        "SaveJobs": False,
        "Plugins": [],
        **settings,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    with running([program, path], log=folder / "orthanc.log", env={"TCP_NODELAY": "1"}) as process:
        server = Orthanc(dicom_port, http_port, ae_title, process)
        wait_until(lambda: _answers(server), process, "Orthanc")
        yield server


def _answers(server: Orthanc) -> bool:
    try:
        server.get("/system")
    except (urllib.error.URLError, OSError):
        return False
    return accepts(server.dicom_port)


@contextmanager
def storescp(folder: Path, *options: str, ae_title: str = "STORESCP") -> Iterator[Scp]:
    """Run DCMTK's storescp, which writes what it gets into ``folder``.

    Useful options: --refuse, --abort-after, --abort-during, --sleep-after 5, --implicit.
    """
    program = binary("storescp", "/usr/bin")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [program, "-aet", ae_title, "-od", folder, *options, str(port)]
    log = folder.parent / f"{folder.name}.storescp.log"
    with running(command, log=log, env={"TCP_NODELAY": "1"}) as process:
        wait_until(lambda: accepts(port), process, "storescp")
        yield Scp(port, ae_title, folder, process)


@contextmanager
def dcmqrscp(folder: Path, ae_title: str = "DCMQRSCP", **movers: int) -> Iterator[Scp]:
    """Run DCMTK's dcmqrscp: stores, answers C-FIND, one storage area in ``folder``.

    ``movers`` are the AE titles, with their ports, that it may send to on a C-MOVE.
    """
    program = binary("dcmqrscp", "/usr/bin")
    area = folder / "area"
    area.mkdir(parents=True, exist_ok=True)
    port = free_port()
    path = folder / "dcmqrscp.cfg"
    path.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        "HostTable BEGIN\n"
        + "".join(f"{title} = ({title}, 127.0.0.1, {at})\n" for title, at in movers.items())
        + "HostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{ae_title} {area} RW (9999, 1024mb) ANY\nAETable END\n"
    )
    command = [program, "-c", path, str(port)]
    log = folder / "dcmqrscp.log"
    with running(command, log=log, env={"TCP_NODELAY": "1"}) as process:
        wait_until(lambda: accepts(port), process, "dcmqrscp")
        yield Scp(port, ae_title, area, process)


@contextmanager
def redis(folder: Path, *options: str) -> Iterator[Redis]:
    """Run redis-server without persistence."""
    program = binary("redis-server")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
    command += ["--save", "", "--appendonly", "no", *options]
    with running(command, log=folder / "redis.log") as process:
        wait_until(lambda: _pongs(port), process, "redis-server")
        yield Redis(port, f"redis://127.0.0.1:{port}/0", process)


def _pongs(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG"
    except OSError:
        return False


@contextmanager
def postgres(*options: str) -> Iterator[Postgres]:
    """Run PostgreSQL over a Unix socket, in a short-named folder of its own.

    The server refuses to run as root and so becomes the user postgres, who cannot enter pytest's
    folders; a socket's path must also stay below 108 characters.
    """
    folders = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    initdb, server = binary("initdb", *folders), binary("postgres", *folders)
    user = "postgres" if os.geteuid() == 0 else ""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if user:
            shutil.chown(folder, user, user)
        data = folder / "data"
        subprocess.run(
            [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            **_as_user(user),
        )
        port = free_port()
        command = [server, "-D", data, "-k", folder, "-p", str(port), "-c", "listen_addresses="]
        with running([*command, *options], log=folder / "log", user=user) as process:
            here = Postgres(port, folder, process)
            wait_until(lambda: _takes_queries(here), process, "postgres")
            yield here
            end(process, signal.SIGINT)  # a fast shutdown, also with sessions open
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _takes_queries(server: Postgres) -> bool:
    import psycopg

    dsn = f"host={server.socket_folder} port={server.port} user=postgres dbname=postgres"
    try:
        psycopg.connect(dsn, connect_timeout=1).close()
    except psycopg.OperationalError:
        return False
    return True
