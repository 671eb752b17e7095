"""Event reports by DIMSE: from the manager to its subscribers, and the ear of our performer.

The manager opens an association to the subscriber's configured address and sends what waits for
it, oldest first (PS3.4 CC.2.4). Who does not answer is tried again later.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association

from db.engine import Database
from db.ups import NoticeRow
from triage import IMPLEMENTATION_CLASS_UID, log
from triage.dimse import Remote, associate
from triage.errors import Broken, TryAgain
from triage.ups import content, notices
from triage.ups.words import EVENT, Event
from triage.workflow import WorkManager, WorkPeer

MAX_ASSOCIATIONS: Final = 8
DEADLINE_S: Final = 10.0

Heard = Callable[[str, Event, Dataset], None]
"""Called with the work item's UID, the event and its attributes."""


def send_waiting(database: Database, settings: WorkManager) -> int:
    """Send what waits for every peer with an address; gives how many events were taken."""
    sent = 0
    for peer in settings.peers:
        if peer.host and peer.port:
            with database.reading() as session:
                waiting = notices.waiting(session, [peer.ae_title])
            if waiting:
                sent += _send(database, settings, peer, waiting)
    with database.begin() as session:
        notices.forget(session, timedelta(seconds=settings.keep_events_s))
    return sent


def _send(
    database: Database, settings: WorkManager, peer: WorkPeer, waiting: Sequence[NoticeRow]
) -> int:
    to = Remote(peer.ae_title, peer.host, peer.port, settings.ae_title, DEADLINE_S, peer.tls)
    sent = 0
    try:
        with associate(to, [(EVENT, ExplicitVRLittleEndian)]) as association:
            for notice in waiting:
                if not _taken(association, notice):
                    break
                with database.begin() as session:
                    notices.taken(session, [notice.id])
                sent += 1
    except (TryAgain, Broken, RuntimeError, ValueError) as why:
        log.get().info("ups.subscriber-away", why=type(why).__name__)
    if sent < len(waiting):
        with database.begin() as session:
            for notice in waiting[sent:]:
                notices.later(session, notice.id, timedelta(seconds=settings.event_retry_s))
    return sent


def _taken(association: Association, notice: NoticeRow) -> bool:
    """Send one event; a subscriber that refuses it has had it."""
    answer, _ = association.send_n_event_report(
        content.parse(notice.content), notice.event_type, EVENT, notice.sop_instance_uid
    )
    return "Status" in answer


class Ear:
    """A port that takes event reports."""

    def __init__(self, ae_title: str, host: str, port: int, heard: Heard) -> None:
        self._place = (host, port)
        self._title = ae_title
        self._heard = heard
        self._server: Any = None

    def start(self) -> int:
        """Listen in threads; gives the port."""
        ae = AE(ae_title=self._title)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.maximum_associations = MAX_ASSOCIATIONS
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = DEADLINE_S
        ae.add_supported_context(EVENT, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._take)]
        self._server = ae.start_server(self._place, block=False, evt_handlers=handlers)
        port: int = self._server.socket.getsockname()[1]
        return port

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()

    def _take(self, event: evt.Event) -> tuple[int, None]:
        uid = str(getattr(event.request, "AffectedSOPInstanceUID", "") or "")
        number = event.event_type or 0
        if number in set(Event):
            self._heard(uid, Event(number), event.event_information)
        return 0x0000, None
