"""The two long-running services: the manager's DIMSE port, and the performer with its ears."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

from pydicom.dataset import Dataset
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from db.engine import Database
from triage import log
from triage.settings import Settings
from triage.ups import claims, content, events, upkeep
from triage.ups.client_dimse import DimseClient
from triage.ups.client_web import WebClient, authorization, trust
from triage.ups.performer import Performer
from triage.ups.scp import Scp
from triage.ups.words import Event, NotDone
from triage.workflow import DimseManager, WebManager, WorkManager

if TYPE_CHECKING:
    from triage.ups.client import Manager

IDLE_S: Final = 0.2
EVENTS_S: Final = 0.5
RECONNECT_S: Final = 5.0
MAX_EVENT_BYTES: Final = 1_048_576
Stopping = Callable[[], bool]


def serve(settings: Settings, database: Database, stopping: Stopping) -> None:
    """Be the manager by DIMSE, and send its event reports, until told to stop."""
    of = settings.site.ups.manager
    scp = Scp(database, of)
    log.get().info("ups.serving", port=scp.start(), peers=len(of.peers))
    try:
        _upkeep(database, lambda session: upkeep.announce(session, "RESTARTED"))
        while not stopping():
            _upkeep(database, lambda session: upkeep.forget_finished(session, of.keep_items))
            _send_events(database, of)
            time.sleep(EVENTS_S)
        _upkeep(database, lambda session: upkeep.announce(session, "GOING DOWN"))
        _send_events(database, of)
    finally:
        scp.stop()


def _upkeep(database: Database, deed: Callable[[Session], object]) -> None:
    try:
        with database.begin() as session:
            deed(session)
    except SQLAlchemyError as why:
        log.get().warning("database.away", why=type(why).__name__)


def _send_events(database: Database, of: WorkManager) -> None:
    try:
        events.send_waiting(database, of)
    except SQLAlchemyError as why:
        log.get().warning("database.away", why=type(why).__name__)


def work(settings: Settings, database: Database, owner: str, stopping: Stopping) -> None:
    """Perform work items until told to stop.

    An exchange that outlasts its lease ends the process: the supervisor starts it again, and the
    claim is taken up with the same Transaction UID.
    """
    of = settings.site.ups.performer
    performer = make(settings, database, owner)
    log.get().info("ups.performing", managers=len(of.managers))
    next_look = 0.0
    with closing(performer), ears(settings, database):
        while not stopping():
            try:
                with _ended_after(of.lease_s):
                    if time.monotonic() >= next_look:
                        performer.look()
                        next_look = time.monotonic() + of.poll_s
                    worked = performer.work()
            except SQLAlchemyError as why:
                log.get().warning("database.away", why=type(why).__name__)
                worked = False
            if not worked:
                time.sleep(IDLE_S)


def make(settings: Settings, database: Database, owner: str) -> Performer:
    """Put a performer together from the settings."""
    of = settings.site.ups.performer
    clients: list[Manager] = [
        DimseClient(one, hears=bool(of.event_port))
        if isinstance(one, DimseManager)
        else WebClient(one)
        for one in of.managers
    ]
    destinations = {one.name: one for one in settings.site.destinations}
    return Performer(database, of, clients, destinations, owner)


@contextmanager
def ears(settings: Settings, database: Database) -> Iterator[None]:
    """Hear cancel requests: event reports on our port, and the web managers' channels."""
    of = settings.site.ups.performer
    by_dimse = [one for one in of.managers if isinstance(one, DimseManager)]
    stop = threading.Event()
    ear = None
    if by_dimse and of.event_port:
        heard = _noting(database, [one.name for one in by_dimse])
        ear = events.Ear(by_dimse[0].calling_ae_title, of.event_host, of.event_port, heard)
        ear.start()
    for one in of.managers:
        if isinstance(one, WebManager):
            arguments = (one, _noting(database, [one.name]), stop)
            threading.Thread(target=listen, args=arguments, daemon=True).start()
    try:
        yield
    finally:
        stop.set()
        if ear is not None:
            ear.stop()


def _noting(database: Database, names: list[str]) -> events.Heard:
    """Give what notes a cancel request of one of these managers' items."""

    def heard(uid: str, event: Event, _told: Dataset) -> None:
        if event is Event.CANCEL_REQUESTED:
            for name in names:
                claims.ask_cancel(database, name, uid)

    return heard


def listen(manager: WebManager, heard: events.Heard, stop: threading.Event) -> None:
    """Keep a web manager's event channel open; what cannot be read is passed over."""
    url = f"{manager.url.replace('http', 'ws', 1)}/subscribers/{manager.ae_title}"
    secure = trust(manager) if url.startswith("wss:") else None
    while not stop.is_set():
        try:
            with connect(
                url, additional_headers=authorization(manager), ssl=secure, proxy=None,
                max_size=MAX_EVENT_BYTES, open_timeout=manager.deadline_s,
            ) as socket:  # fmt: skip
                while not stop.is_set():
                    _hear(socket.recv, heard)
        except (WebSocketException, OSError, SQLAlchemyError) as why:
            log.get().info("ups.channel-lost", manager=manager.name, why=type(why).__name__)
        stop.wait(RECONNECT_S)


def _hear(receive: Callable[[float], str | bytes], heard: events.Heard) -> None:
    """Take one event, or none within a second."""
    try:
        told = json.loads(receive(1.0))
        uid, number = told["00001000"]["Value"][0], told["00001002"]["Value"][0]
        if number in set(Event):
            body = {tag: element for tag, element in told.items() if not tag.startswith("0000")}
            heard(str(uid), Event(number), content.from_json(body))
    except TimeoutError:
        return
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, NotDone) as why:
        log.get().warning("ups.event-unread", why=type(why).__name__)


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """Have the kernel end this process if the body outlasts its time."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
