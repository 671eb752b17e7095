"""N-services: commitments asked and reported, performed steps, availability (PS3.4 F.7, J, R).

A request is judged, made durable in the spool, and only then answered with success; the ingestor
turns it into rows. What an answer needs to know of earlier requests stands in the ledger.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from triage import commitment, log
from triage.errors import Refused
from triage.receive import notified
from triage.receive.body import Body
from triage.receive.command import Command, Field
from triage.receive.ledger import Ledger
from triage.receive.negotiation import AVAILABILITY, PERFORMED_STEP, Context
from triage.receive.part10 import Caller, Named, file_header
from triage.receive.scan import EXPLICIT_LITTLE, is_uid
from triage.spool import Bytes, Spool

Fact = TypeVar("Fact")
PROCESSING_FAILURE: Final = 0x0110
"""Ours to repair, and worth another try; of a final step with Error ID 0xA710 (PS3.4 F.7.2.2.2)."""
DUPLICATE_INSTANCE: Final = 0x0111
NO_SUCH_INSTANCE: Final = 0x0112
INVALID_ARGUMENT: Final = 0x0115
INVALID_INSTANCE: Final = 0x0117
NO_SUCH_CLASS: Final = 0x0118
NO_SUCH_ACTION: Final = 0x0123
DUPLICATE_TRANSACTION: Final = 0x0131
UNRECOGNISED_OPERATION: Final = 0x0211
RESOURCE_LIMITATION: Final = 0x0213
NO_LONGER_UPDATED: Final = 0xA710
"""Error ID: the performed step is final."""
MAX_MESSAGE_BYTES: Final = 16 * 2**20
FIELDS: Final = frozenset((Field.N_EVENT_REPORT, Field.N_ACTION, Field.N_CREATE, Field.N_SET))
_TAKEN: Final = frozenset(
    {
        (commitment.SOP_CLASS, Field.N_EVENT_REPORT),
        (commitment.SOP_CLASS, Field.N_ACTION),
        (PERFORMED_STEP, Field.N_CREATE),
        (PERFORMED_STEP, Field.N_SET),
        (AVAILABILITY, Field.N_CREATE),
    }
)


@dataclass(frozen=True, slots=True)
class Request:
    """One message, whole."""

    command: Command
    context: Context
    content: Bytes
    caller: Caller


class Services:
    """The N-services over one spool, shared by all associations."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._ledger = Ledger(spool.root / "ledger")

    def serve(self, command: Command, context: Context, body: Body, caller: Caller) -> str:
        """Do what a message asks; when this returns, it is safe in the spool.

        Gives the SOP Instance UID for the answer where we chose it, else "".

        Raises:
            Refused: with the status to answer.
        """
        sop_class = command.sop_class_uid.rstrip(b"\0 ").decode("latin-1")
        if sop_class != context.abstract_syntax:
            raise Refused(NO_SUCH_CLASS, "SOP class is not the context's")
        if (sop_class, command.field) not in _TAKEN:
            raise Refused(UNRECOGNISED_OPERATION, "not an operation on this SOP class")
        if body.size > MAX_MESSAGE_BYTES:
            raise Refused(RESOURCE_LIMITATION, "a message beyond the limit")
        try:
            return self._serve(Request(command, context, body.content(), caller))
        except OSError as why:
            log.get().warning("spool.refused", error=type(why).__name__, errno=why.errno)
            status = RESOURCE_LIMITATION if command.field == Field.N_ACTION else PROCESSING_FAILURE
            raise Refused(status, "the spool cannot take it now") from None

    def _serve(self, request: Request) -> str:
        field = request.command.field
        if field == Field.N_EVENT_REPORT:
            _well_known(request)
            self._keep(request, request.content)
        elif field == Field.N_ACTION:
            self._ask(request)
        elif field == Field.N_SET:
            self._set(request)
        elif request.context.abstract_syntax == PERFORMED_STEP:
            return self._create(request)
        else:
            return self._notify(request)
        return ""

    def _ask(self, request: Request) -> None:
        """Take a request for Storage Commitment (PS3.4 J.3.2)."""
        _well_known(request)
        if request.command.type_id != commitment.REQUEST:
            raise Refused(NO_SUCH_ACTION, "not the action of a request")
        transaction = _judged(request, notified.transaction)
        with self._ledger.entry("transaction", transaction) as known:
            if known.read() is not None:
                raise Refused(DUPLICATE_TRANSACTION, "this Transaction UID was taken before")
            self._keep(request, request.content)
            known.write(b"")

    def _create(self, request: Request) -> str:
        """Begin a performed procedure step (PS3.4 F.7.2.1)."""
        uid, chosen = _instance_of(request)
        step = _judged(request, notified.begun)
        with self._ledger.entry("step", uid) as known:
            if known.read() is not None:
                raise Refused(DUPLICATE_INSTANCE, "this step was begun before")
            content = notified.encoded(step)
            self._keep(request, content, uid, revision=1)
            known.write(notified.remembered(1, content))
        return chosen

    def _set(self, request: Request) -> None:
        """Go on with a performed procedure step, or end it (PS3.4 F.7.2.2)."""
        uid, _ = _instance_of(request)
        changed = _judged(request, notified.changes)
        with self._ledger.entry("step", uid) as known:
            before = known.read()
            if before is None:
                raise Refused(NO_SUCH_INSTANCE, "this step was never begun here")
            revision, step = notified.recalled(before)
            if notified.is_final(step):
                raise Refused(
                    PROCESSING_FAILURE, "the step may no longer be updated", NO_LONGER_UPDATED
                )
            content = notified.encoded(notified.updated(step, changed))
            self._keep(request, content, uid, revision=revision + 1)
            known.write(notified.remembered(revision + 1, content))

    def _notify(self, request: Request) -> str:
        """Take an Instance Availability Notification (PS3.4 R.3)."""
        uid, chosen = _instance_of(request)
        _judged(request, notified.check_availability)
        with self._ledger.entry("availability", uid) as known:
            if known.read() is not None:
                raise Refused(DUPLICATE_INSTANCE, "this notification was taken before")
            self._keep(request, request.content, uid, revision=1)
            known.write(b"")
        return chosen

    def _keep(
        self, request: Request, content: Bytes, uid: str = commitment.SOP_INSTANCE, **note: int
    ) -> None:
        """Make a message durable, with what its command said."""
        syntax = request.context.transfer_syntax
        if request.context.abstract_syntax == PERFORMED_STEP:
            syntax = EXPLICIT_LITTLE  # as it is merged
        named = Named(request.context.abstract_syntax, uid)
        operation = Field(request.command.field).name
        header = file_header(named, syntax, request.caller, {"operation": operation, **note})
        self._spool.write_report(header, content)


def _judged(request: Request, judge: Callable[[Dataset], Fact]) -> Fact:
    return notified.judged(request.content, request.context.transfer_syntax, judge)


def _well_known(request: Request) -> None:
    if request.command.sop_instance_uid.rstrip(b"\0 ") != commitment.SOP_INSTANCE.encode():
        raise Refused(NO_SUCH_INSTANCE, "not the well-known instance")


def _instance_of(request: Request) -> tuple[str, str]:
    """Give the SOP Instance UID, and again where it is ours to choose (PS3.7 10.1.5.1.4)."""
    given = request.command.sop_instance_uid.rstrip(b"\0 ")
    if is_uid(given):
        return given.decode("ascii"), ""
    if given or request.command.field != Field.N_CREATE:
        raise Refused(INVALID_INSTANCE, "SOP Instance UID is not a valid UID")
    chosen = str(generate_uid(prefix=None))
    return chosen, chosen
