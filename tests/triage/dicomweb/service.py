"""The server for programs on a real port, over a spool and rows of its own."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import uvicorn

from db.engine import Database, connect
from db.tables import InstanceRow
from tests import builders
from triage import settings as noun
from triage.dicomweb.reading import Reading
from triage.dicomweb.server import Patient, make_app
from triage.dicomweb.visitors import Doorkeeper
from triage.ingest import ingest_all
from triage.settings import Settings
from triage.spool import Spool
from triage.ups import tokens
from triage.web_services import DicomWeb, WebServer

BOUNDARY = "b0undary"


@dataclass
class Service:
    """A running server."""

    settings: Settings
    database: Database
    spool: Spool
    url: str = ""
    kept: dict[str, str] = field(default_factory=dict)

    def token(self, *roles: str) -> str:
        """Give a token of these roles, made once."""
        name = "-".join(roles) or "none"
        if name not in self.kept:
            with self.database.begin() as session:
                self.kept[name] = tokens.add(session, name, roles, actor="tester")
        return self.kept[name]

    def bearer(self, *roles: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(*roles)}"}

    def post(self, body: bytes, *, path: str = "/studies", **headers: str) -> httpx.Response:
        given = {**self.bearer("sender"), "Content-Type": kind(), **headers}
        return httpx.post(f"{self.url}{path}", content=body, headers=given, timeout=60)

    def get(self, path: str, **headers: str) -> httpx.Response:
        given = {**self.bearer("reader"), **headers}
        return httpx.get(f"{self.url}{path}", headers=given, timeout=60)

    def ingest(self) -> None:
        ingest_all(self.database, self.spool, self.settings.site.completeness)

    def rows(self) -> list[InstanceRow]:
        with self.database.reading() as session:
            return list(session.query(InstanceRow).order_by(InstanceRow.id))


def kind(boundary: str = BOUNDARY) -> str:
    return f'multipart/related; type="application/dicom"; boundary={boundary}'


def body(*files: bytes, boundary: str = BOUNDARY) -> bytes:
    """Give a store request's body."""
    head = b"Content-Type: application/dicom\r\n\r\n"
    parts = b"".join(b"--%b\r\n%b%b\r\n" % (boundary.encode(), head, one) for one in files)
    return parts + f"--{boundary}--\r\n".encode()


def file(**given: object) -> bytes:
    """Give a small radiograph as a file."""
    return builders.part10(builders.dx(**given))  # type: ignore[arg-type]


@contextmanager
def served(state: Path, migrated: Path, **server: object) -> Iterator[Service]:
    """Serve until the block ends."""
    state.mkdir(parents=True, exist_ok=True)
    shutil.copy(migrated, state / "triage.sqlite")
    settings = noun.load(state)
    of = DicomWeb(server=WebServer.model_validate({"port": 0, **server}))
    listener = settings.site.listener.model_copy(update={"min_free_bytes": 1_000_000})
    site = settings.site.model_copy(update={"dicomweb": of, "listener": listener})
    settings = settings.model_copy(update={"site": site})
    database, spool = connect(settings.database_url), Spool(settings.spool)
    service = Service(settings, database, spool)
    reading = Reading(settings, database, Doorkeeper(database))
    app = make_app(settings, database, spool, reading)
    config = uvicorn.Config(app, port=0, http=Patient, log_config=None, server_header=False)
    runner = uvicorn.Server(config)
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    try:
        while not runner.started:
            assert thread.is_alive()
            thread.join(0.01)
        port = runner.servers[0].sockets[0].getsockname()[1]
        service.url = f"http://127.0.0.1:{port}/dicomweb"
        yield service
    finally:
        runner.should_exit = True
        thread.join(20)
        reading.close()
        database.dispose()
