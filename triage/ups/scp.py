"""DIMSE UPS: the manager's door for application entities (UPS Push, Pull, Watch and Query).

A service of its own, with pynetdicom on the port: the storage listener stays without a database.
Only configured peers are accepted; associations, bytes of one association and silence are limited.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from db.engine import Database
from triage import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, log
from triage.ups import content, manager, watching
from triage.ups.rows import Asker, do
from triage.ups.shielded import Shielded
from triage.ups.words import PULL, PUSH, QUERY, WATCH, Action, NotDone, Status
from triage.workflow import WorkManager, WorkPeer

if TYPE_CHECKING:
    from pynetdicom.association import Association

NO_KEYS: Final = frozenset({"ReceivingAE", "DeletionLock", "RequestingAE", "SpecificCharacterSet"})
"""What a subscription's action information holds beside matching keys."""
VERIFICATION: Final = "1.2.840.10008.1.1"
SYNTAXES: Final = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
MAX_PDU_BYTES: Final = 65_536
NEGOTIATE_S: Final = 10.0
PENDING: Final = 0xFF00
CANCELED: Final = 0xFE00
CALLING_NOT_RECOGNISED: Final = (1, 1, 3)
"""Result, source and reason of A-ASSOCIATE-RJ (PS3.8 9.3.4)."""


class Scp:
    """The manager on a port."""

    def __init__(self, database: Database, settings: WorkManager) -> None:
        self._database = database
        self._settings = settings
        self._peers = {peer.ae_title: peer for peer in settings.peers}
        self._server: Any = None
        self._bytes: WeakKeyDictionary[Association, int] = WeakKeyDictionary()
        """Received by each association since its last whole message."""

    def start(self) -> int:
        """Listen in threads; gives the port.

        Raises:
            ConfigError: the files for TLS do not go together.
        """
        title, tls = self._settings.ae_title, self._settings.tls
        ae = AE(ae_title=title) if tls is None else Shielded(title, tls)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.maximum_associations = self._settings.max_associations
        ae.maximum_pdu_size = MAX_PDU_BYTES
        ae.require_called_aet = True
        ae.require_calling_aet = list(self._peers)
        ae.acse_timeout = NEGOTIATE_S
        ae.dimse_timeout = ae.network_timeout = self._settings.idle_timeout_s
        for sop_class in (PUSH, PULL, WATCH, QUERY, VERIFICATION):
            ae.add_supported_context(sop_class, SYNTAXES)
        address = (self._settings.host, self._settings.port)
        self._server = ae.start_server(address, block=False, evt_handlers=self._handlers())
        port: int = self._server.socket.getsockname()[1]
        return port

    def stop(self) -> None:
        """End every association and stop listening."""
        if self._server is not None:
            self._server.shutdown()

    def _handlers(self) -> list[tuple[Any, ...]]:
        return [
            (evt.EVT_DATA_RECV, self._count),
            (evt.EVT_DIMSE_RECV, self._whole),
            (evt.EVT_REQUESTED, self._check_address),
            (evt.EVT_C_ECHO, lambda _event: 0x0000),
            (evt.EVT_N_CREATE, self._create),
            (evt.EVT_N_GET, self._get),
            (evt.EVT_N_SET, self._set),
            (evt.EVT_N_ACTION, self._act),
            (evt.EVT_C_FIND, self._find),
        ]

    def _count(self, event: evt.Event) -> None:
        """Abort an association whose message grows larger than anybody's needs to."""
        self._bytes[event.assoc] = self._bytes.get(event.assoc, 0) + len(event.data)
        if self._bytes[event.assoc] > self._settings.max_message_bytes:
            log.get().warning("ups.too-much", limit=self._settings.max_message_bytes)
            event.assoc.abort()

    def _whole(self, event: evt.Event) -> None:
        self._bytes.pop(event.assoc, None)

    def _check_address(self, event: evt.Event) -> None:
        """Refuse a title that calls from another address than its own."""
        request = event.assoc.requestor.primitive  # its title is not taken over yet
        peer = self._peers.get(str(request.calling_ae_title).strip()) if request else None
        if peer and peer.addresses and event.assoc.requestor.address not in peer.addresses:
            event.assoc.acse.send_reject(*CALLING_NOT_RECOGNISED)
            event.assoc.kill()

    def _create(self, event: evt.Event) -> tuple[int, Dataset | None]:
        uid = _named(event, "AffectedSOPInstanceUID")
        return self._do(
            event,
            ("create", uid),
            lambda session, asker: manager.create(
                session, asker, uid, content.from_wire(event.attribute_list)
            ),
            Dataset(),
        )

    def _get(self, event: evt.Event) -> tuple[int, Dataset | None]:
        uid = _named(event, "RequestedSOPInstanceUID")
        found = Dataset()

        def deed(session: Session, asker: Asker) -> Status:
            item = manager.get(session, asker, uid)
            keys = Dataset()
            for tag in event.attribute_identifiers:
                if tag in item:
                    keys.add(item[tag])
            found.update(keys if event.attribute_identifiers else item)
            found.SpecificCharacterSet = item.SpecificCharacterSet  # of whatever text is given
            wanted = len(set(event.attribute_identifiers))
            return Status.DONE if len(keys) == wanted or not wanted else Status.SOME_ATTRIBUTES

        return self._do(event, ("get", uid), deed, found)

    def _set(self, event: evt.Event) -> tuple[int, Dataset | None]:
        uid = _named(event, "RequestedSOPInstanceUID")

        def deed(session: Session, asker: Asker) -> Status:
            given = content.from_wire(event.modification_list)
            transaction = str(given.get("TransactionUID") or "")
            return manager.update(session, asker, uid, given, transaction)

        return self._do(event, ("update", uid), deed, Dataset())

    def _act(self, event: evt.Event) -> tuple[int, Dataset | None]:
        uid = _named(event, "RequestedSOPInstanceUID")

        def deed(session: Session, asker: Asker) -> Status:
            given = content.from_wire(event.action_information)
            return self._action(session, asker, event.action_type or 0, (uid, given))

        return self._do(event, (f"action-{event.action_type}", uid), deed, None)

    def _action(
        self, session: Session, asker: Asker, action: int, what: tuple[str, Dataset]
    ) -> Status:
        uid, given = what
        if action == Action.CHANGE_STATE:
            wanted, transaction = given.get("ProcedureStepState"), given.get("TransactionUID")
            return manager.change_state(
                session, asker, uid, str(wanted or ""), str(transaction or "")
            )
        if action == Action.REQUEST_CANCEL:
            return manager.request_cancel(session, asker, uid, given)
        if action not in {Action.SUBSCRIBE, Action.UNSUBSCRIBE, Action.SUSPEND}:
            raise NotDone(Status.NO_ACTION)
        return self._watch(session, asker, Action(action), what)

    def _watch(
        self, session: Session, asker: Asker, action: Action, what: tuple[str, Dataset]
    ) -> Status:
        uid, given = what
        title = str(given.get("ReceivingAE") or "").strip()
        peer = self._peers.get(title)
        if peer is None or not (peer.host and peer.port):
            raise NotDone(Status.UNKNOWN_AE)
        if action is Action.UNSUBSCRIBE:
            return watching.unsubscribe(session, asker, uid, title)
        if action is Action.SUSPEND:
            return watching.suspend(session, asker, uid, title)
        locked = str(given.get("DeletionLock") or "") == "TRUE"
        keys = Dataset()
        for element in given:
            if element.keyword not in NO_KEYS:
                keys.add(element)
        return watching.subscribe(
            session, asker, uid, title, lock=locked, keys=keys if len(keys) else None
        )

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        try:
            keys = content.from_wire(event.identifier)
            found, _ = do(
                self._database,
                self._asker(event),
                ("search", ""),
                lambda session: manager.search(
                    session, self._asker(event), keys, limit=self._settings.max_results
                ),
            )
        except NotDone as why:
            yield _answer(why), None
            return
        except SQLAlchemyError as why:
            log.get().warning("database.error", why=type(why).__name__)
            yield int(Status.FAILED), None
            return
        for item in found:
            if event.is_cancelled:
                yield CANCELED, None
                return
            yield PENDING, content.project(item, keys)

    def _do(
        self,
        event: evt.Event,
        what: tuple[str, str],
        deed: Callable[[Session, Asker], Status],
        answer: Dataset | None,
    ) -> tuple[int, Dataset | None]:
        asker = self._asker(event)
        try:
            status = do(self._database, asker, what, lambda session: deed(session, asker))
        except NotDone as why:
            return _answer(why), None
        except SQLAlchemyError as why:
            log.get().warning("database.error", why=type(why).__name__)
            return int(Status.FAILED), None
        return int(status), answer

    def _asker(self, event: evt.Event) -> Asker:
        title = _calling(event)
        peer = self._peers.get(title, WorkPeer(ae_title="UNKNOWN", roles=()))
        return Asker(title, frozenset(peer.roles), title, event.assoc.requestor.address)


def _answer(why: NotDone) -> int:
    log.get().info("ups.refused", status=f"{int(why.status):04X}")
    return int(why.status)


def _named(event: evt.Event, keyword: str) -> str:
    """Give a UID of the request's command set."""
    return str(getattr(event.request, keyword, None) or "")


def _calling(event: evt.Event) -> str:
    return str(event.assoc.requestor.ae_title).strip()
