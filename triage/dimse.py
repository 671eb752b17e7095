"""Outgoing associations: C-STORE, C-FIND and C-ECHO as a user (PS3.4 annexes A to C).

The statuses of a C-STORE have three fates: stored, later, refused. Messages name the destination
and the code, never a value from a data set. A peer that stops reading while we write can block a
send for as long as it likes: a caller who needs a hard deadline uses ``triage.deliver``.
"""

import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from triage import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from triage.destinations import Dimse
from triage.errors import Broken, ConfigError, InDoubt, TryAgain
from triage.tls import TlsPeer, Trust, client_context

VERIFICATION: Final = UID("1.2.840.10008.1.1")
STUDY_ROOT_FIND: Final = UID("1.2.840.10008.5.1.4.1.2.2.1")
MAX_CONTEXTS: Final = 128
"""Presentation context IDs are the odd numbers up to 255 (PS3.8 9.3.2.2)."""
MAX_PDU_BYTES: Final = 131_072
CONNECT_S: Final = 5.0
NEGOTIATE_S: Final = 10.0
DUPLICATE_INSTANCE: Final = 0x0111
PROCESSING_FAILURE: Final = 0x0110
RESOURCE_LIMITATION: Final = 0x0213
SUCCESS: Final = 0x0000
CALLER_UNKNOWN: Final = (1, 1, 3)
"""Result, source and reason of A-ASSOCIATE-RJ (PS3.8 9.3.4): calling AE title not recognised."""

_config.STORE_SEND_CHUNKED_DATASET = True  # a file's own bytes leave, neither decoded nor held
_config.LOG_HANDLER_LEVEL = "none"  # its handlers cost time and quote identifiers

Syntaxes = tuple[str, str]
"""SOP Class UID and Transfer Syntax UID."""


@dataclass(frozen=True, slots=True)
class Remote:
    """An application entity named on a command line, where no destination is configured."""

    ae_title: str
    host: str
    port: int
    calling_ae_title: str = "TRIAGE"
    deadline_s: float = 30.0
    tls: TlsPeer | None = None

    @property
    def name(self) -> str:
        """Give what messages call it."""
        return f"{self.ae_title}@{self.host}:{self.port}"


Peer = Dimse | Remote


class AssociationLost(InDoubt):
    """No answer came, or the peer aborted: nothing more goes over this association."""


class Verdict(Enum):
    """What a C-STORE status means for the sender."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """Another object may hold the UID, or ours arrived before: look."""
    LATER = "later"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Item:
    """What a Part 10 file says of itself in its file meta information (PS3.10 7.1)."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def syntaxes(self) -> Syntaxes:
        """Give what an association must accept to take this file as it is."""
        return (self.sop_class_uid, self.transfer_syntax_uid)


def inspect(path: Path) -> Item:
    """Read a file's meta information.

    Raises:
        InvalidDicomError: this is no Part 10 file, or its meta information is incomplete.
        OSError: it cannot be read.
    """
    try:
        meta = read_file_meta_info(path)
        return Item(
            path=path,
            sop_class_uid=str(meta.MediaStorageSOPClassUID),
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
            transfer_syntax_uid=str(meta.TransferSyntaxUID),
        )
    except (AttributeError, ValueError, EOFError, NotImplementedError) as why:
        msg = f"no complete file meta information ({type(why).__name__})"
        raise InvalidDicomError(msg) from None


def verdict(status: int) -> Verdict:
    """Sort a C-STORE status (PS3.4 Table B.2-1, PS3.7 Annex C)."""
    if status == SUCCESS or 0xB000 <= status <= 0xBFFF:
        return Verdict.STORED
    if status == DUPLICATE_INSTANCE:
        return Verdict.DUPLICATE
    if 0xA700 <= status <= 0xA7FF or status in {PROCESSING_FAILURE, RESOURCE_LIMITATION}:
        return Verdict.LATER
    return Verdict.REFUSED


class Checkpoint(threading.Event):
    """What pynetdicom's reactor stops at while a request of ours waits for its answer.

    Let go from an Event, the reactor still looks paused until it runs again. A request that is sent
    meanwhile may have its answer taken by the reactor, and waits for it in vain.
    """

    def __init__(self, association: Association) -> None:
        """Begin open, as an association does."""
        super().__init__()
        self._association = association
        self._changed = threading.Condition()
        self._is_open = True

    def is_set(self) -> bool:
        """Tell whether the reactor may go on."""
        return self._is_open

    def set(self) -> None:
        """Let the reactor go on."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Have the reactor stop; that it is paused is true from here on, or false."""
        with self._changed:
            self._is_open = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the reactor may go on; it is not paused any more when this returns."""
        with self._changed:
            is_open = self._changed.wait_for(self.is_set, timeout)
            self._association._is_paused = not is_open  # noqa: SLF001 - they go together
            return is_open


@contextmanager
def associate(
    to: Peer,
    wanted: Iterable[Syntaxes],
    *,
    handlers: Sequence[tuple[evt.EventType, Any]] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Iterator[Association]:
    """Hold an association that proposes what is wanted and nothing else.

    ``handlers`` answer what the peer asks of us over it; ``roles`` are ours where we do not ask.

    Raises:
        TryAgain: nobody answers, or the peer rejects or aborts.
        Broken: the peer accepts none of the SOP classes (code "refused").
    """
    trust = _trust(to)
    rejections: list[A_ASSOCIATE_RJ] = []
    ae = AE(ae_title=to.calling_ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = min(CONNECT_S, to.deadline_s)
    ae.acse_timeout = min(NEGOTIATE_S, to.deadline_s)
    ae.dimse_timeout = ae.network_timeout = to.deadline_s
    association = ae.associate(
        to.host,
        to.port,
        contexts=proposals(wanted),
        ae_title=to.ae_title,
        max_pdu=MAX_PDU_BYTES,
        ext_neg=list(roles),
        evt_handlers=[
            (evt.EVT_CONN_OPEN, hurry),
            (evt.EVT_DATA_RECV, hurry),
            (evt.EVT_PDU_RECV, _keep_rejection, [rejections]),
            *handlers,
        ],
        tls_args=(trust, to.tls.server_name or to.host) if trust and to.tls else None,
    )
    association._reactor_checkpoint = Checkpoint(association)  # noqa: SLF001
    if not association.is_established:
        if trust and trust.failure:
            msg = f"{to.name}: no TLS with {to.host}:{to.port}: {trust.failure}"
            raise TryAgain(msg)
        raise _not_established(association, to, rejections)
    try:
        yield association
    except AssociationLost:
        association.abort()
        raise
    finally:
        if association.is_established:
            association.release()


def store(association: Association, item: Item, to: Peer) -> int:
    """Send one file's bytes as they are; gives the status under which the peer keeps them.

    Raises:
        TryAgain: out of resources: send the same again. AssociationLost: no answer, or the
            association broke; whether it is stored is in doubt, and the same again is right.
        Broken: the peer will never take it (code "refused").
    """
    try:
        answer = association.send_c_store(_sendable(association, item, to))
    except (RuntimeError, OSError) as why:
        msg = f"{to.name}: the association broke before the C-STORE ({type(why).__name__})"
        raise AssociationLost(msg) from None
    status = answer.get("Status")
    if status is None:
        msg = f"{to.name}: no answer to the C-STORE; whether it is stored is in doubt"
        raise AssociationLost(msg)
    return _settled(int(status), item, to)


def send(item: Item, to: Peer) -> int:
    """Associate, store one file, release. As ``associate`` and ``store`` in all else."""
    with associate(to, [item.syntaxes]) as association:
        return store(association, item, to)


def echo(to: Peer) -> None:
    """Ask whether the peer is there (C-ECHO).

    Raises:
        TryAgain: it is not, or did not say yes.
    """
    with associate(to, [(VERIFICATION, ImplicitVRLittleEndian)]) as association:
        status = association.send_c_echo().get("Status")
    if status != SUCCESS:
        msg = f"{to.name}: no success to the C-ECHO"
        raise TryAgain(msg)


def holds(item: Item, to: Peer) -> bool:
    """Ask by C-FIND at the IMAGE level whether the peer keeps this instance.

    Raises:
        TryAgain, Broken: as ``associate``.
    """
    tags = ["StudyInstanceUID", "SeriesInstanceUID"]
    header = pydicom.dcmread(item.path, stop_before_pixels=True, specific_tags=list(tags))
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = header.StudyInstanceUID
    query.SeriesInstanceUID = header.SeriesInstanceUID
    query.SOPInstanceUID = item.sop_instance_uid
    with associate(to, [(STUDY_ROOT_FIND, ImplicitVRLittleEndian)]) as association:
        answers = list(association.send_c_find(query, STUDY_ROOT_FIND))
    return any(
        match is not None and match.get("SOPInstanceUID") == item.sop_instance_uid
        for _, match in answers
    )


def proposals(wanted: Iterable[Syntaxes]) -> list[PresentationContext]:
    """Give one presentation context a pair, and the default one beside an uncompressed pair.

    PS3.5 10.1: whoever offers an uncompressed transfer syntax offers Implicit VR Little Endian.

    Raises:
        ValueError: more contexts than one association can carry.
    """
    pairs = dict.fromkeys(
        pair
        for sop_class, syntax in wanted
        for pair in (
            (sop_class, syntax),
            *([(sop_class, ImplicitVRLittleEndian)] if syntax == ExplicitVRLittleEndian else []),
        )
    )
    if len(pairs) > MAX_CONTEXTS:
        msg = f"{len(pairs)} presentation contexts; one association carries {MAX_CONTEXTS}"
        raise ValueError(msg)
    return [build_context(sop_class, syntax) for sop_class, syntax in pairs]


def _settled(status: int, item: Item, to: Peer) -> int:
    fate = verdict(status)
    if fate is Verdict.DUPLICATE:
        if holds(item, to):
            return status
        msg = f"{to.name} says duplicate (0x{status:04X}) but does not find the instance"
        raise TryAgain(msg, status=status)
    if fate is Verdict.LATER:
        msg = f"{to.name} cannot store it now (0x{status:04X})"
        raise TryAgain(msg, status=status)
    if fate is Verdict.REFUSED:
        detail = f"{to.name} refused the object (0x{status:04X})"
        raise Broken(code="refused", detail=detail, status=status)
    return status


def _sendable(association: Association, item: Item, to: Peer) -> Path | Dataset:
    """Give the file, or its data set where the peer takes only the default transfer syntax."""
    accepted = {
        (context.abstract_syntax, context.transfer_syntax[0])
        for context in association.accepted_contexts
    }
    if item.syntaxes in accepted:
        return item.path
    if (
        item.transfer_syntax_uid == ExplicitVRLittleEndian
        and (item.sop_class_uid, ImplicitVRLittleEndian) in accepted
    ):
        return pydicom.dcmread(item.path)
    raise _not_taken(item.syntaxes, to)


def _not_taken(syntaxes: Syntaxes, to: Peer) -> Broken:
    sop_class, syntax = (UID(one).name for one in syntaxes)
    return Broken(code="refused", detail=f"{to.name} does not accept {sop_class} in {syntax}")


def _trust(to: Peer) -> Trust | None:
    """Give what is spoken and believed over TLS, with the files as they are now."""
    try:
        return client_context(to.tls, min(NEGOTIATE_S, to.deadline_s)) if to.tls else None
    except ConfigError as why:  # whoever mends the files need not start us again
        msg = f"{to.name}: {why}"
        raise TryAgain(msg) from None


def _keep_rejection(event: evt.Event, rejections: list[A_ASSOCIATE_RJ]) -> None:
    """Keep a rejection as it is read.

    pynetdicom forgets one that comes, with the end of the connection, before its own thread has
    looked: it then says that nobody could be reached.
    """
    if isinstance(event.pdu, A_ASSOCIATE_RJ):
        rejections.append(event.pdu)


def _not_established(
    association: Association, to: Peer, rejections: Sequence[A_ASSOCIATE_RJ]
) -> Exception:
    if rejections:
        return _rejected(rejections[0], to)
    refused = association.rejected_contexts
    if refused and not association.accepted_contexts:
        first = refused[0]
        return _not_taken((str(first.abstract_syntax), str(first.transfer_syntax[0])), to)
    msg = f"{to.name}: no association with {to.ae_title} at {to.host}:{to.port}"
    return TryAgain(msg)


def _rejected(answer: A_ASSOCIATE_RJ, to: Peer) -> TryAgain:
    codes = (answer.result, answer.source, answer.reason_diagnostic)
    msg = (
        f"{to.name} rejected the association: {answer.reason_str} (result {codes[0]}, "
        f"source {codes[1]}, reason {codes[2]})"
    )
    if codes == CALLER_UNKNOWN:
        ours = to.calling_ae_title
        msg += f"; make {ours} known there (to Triage: triage node add {ours} --from ADDRESS)"
    return TryAgain(msg)


def hurry(event: evt.Event) -> None:
    """Send and acknowledge at once. Quick acknowledgement falls back after each read.

    A peer that leaves Nagle's algorithm on sends a response's second half only after our
    acknowledgement, which Linux delays by 40 ms.
    """
    wrapped = event.assoc.dul.socket
    if wrapped is None or wrapped.socket is None:
        return
    wrapped.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_QUICKACK"):
        wrapped.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
