"""The manager behind its two doors, with pynetdicom's SCU and plain HTTP in front of them."""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from db.engine import Database
from triage.ups import tokens, web
from triage.ups.scp import Scp
from triage.ups.words import PULL, PUSH, QUERY, WATCH
from triage.workflow import EVERY_ROLE, WorkManager, WorkPeer

CALLING = "PERFORMER"


def settings(*peers: WorkPeer, **given: object) -> WorkManager:
    values = {"enabled": True, "port": 0, "peers": peers or (WorkPeer(ae_title=CALLING),)}
    return WorkManager.model_validate(values | given)


@contextmanager
def dimse_door(database: Database, of: WorkManager) -> Iterator[int]:
    """Serve by DIMSE; gives the port."""
    scp = Scp(database, of)
    try:
        yield scp.start()
    finally:
        scp.stop()


@contextmanager
def web_door(database: Database, of: WorkManager) -> Iterator[str]:
    """Serve by HTTP on a real port, as the worklist's server does; gives the service's URL."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app = Starlette(routes=[Mount("/dicomweb", web.app(database, of))])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="websockets-sansio"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/dicomweb"
    finally:
        server.should_exit = True
        thread.join(60)


@contextmanager
def scu(port: int, calling: str = CALLING, called: str = "TRIAGE_UPS") -> Iterator[Association]:
    """Associate as pynetdicom's user of all four classes."""
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    for sop_class in (PUSH, PULL, WATCH, QUERY):
        ae.add_requested_context(sop_class, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", port, ae_title=called)
    assert association.is_established, "not established"
    try:
        yield association
    finally:
        with contextlib.suppress(RuntimeError):
            association.release()


def token(database: Database, name: str = "program", *roles: str) -> str:
    with database.begin() as session:
        return tokens.add(session, name, roles or EVERY_ROLE, actor="tester")


def status(answer: Dataset | tuple[Dataset, Dataset | None]) -> int:
    """Give the status of a DIMSE response."""
    of = answer[0] if isinstance(answer, tuple) else answer
    return int(of.Status)
