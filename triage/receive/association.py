"""One accepted association: a thread that reads a message, serves it, answers, and reads on."""

import time
from dataclasses import dataclass, field, replace
from typing import Final

from triage import log
from triage.errors import Refused
from triage.receive.body import Body
from triage.receive.command import Command, Field, read_command, response
from triage.receive.negotiation import VERIFICATION, Context
from triage.receive.part10 import Caller
from triage.receive.pdu import (
    ABORT_BY_USER,
    RELEASE_RP,
    Broken,
    Gone,
    Pdu,
    Stopping,
    Why,
    Wire,
    data_pdus,
    where,
)
from triage.receive.services import FIELDS as SERVED
from triage.receive.storage import CLASS_NOT_SUPPORTED, PROCESSING_FAILURE, SUCCESS, Storage
from triage.spool import Journal

UNRECOGNISED_OPERATION: Final = 0x0211
MAX_COMMAND_BYTES: Final = 16_384
IS_COMMAND: Final = 1
IS_LAST: Final = 2


@dataclass(slots=True)
class Tally:
    """What an association did, for its one line in the log."""

    accepted: int = 0
    refused: int = 0
    size_bytes: int = 0
    started: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was negotiated with whom."""

    caller: Caller
    contexts: dict[int, Context]
    max_answer_bytes: int
    """What the peer takes in one PDU; 0 is any length."""
    acceptance: bytes
    """The A-ASSOCIATE-AC."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a response says."""

    status: int = SUCCESS
    comment: str = ""
    error_id: int = 0
    sop_instance_uid: str = ""
    """Of what an N-CREATE made, where the choice was ours."""


class Association:
    """A peer that was let in, from its A-ASSOCIATE-AC on."""

    def __init__(
        self, wire: Wire, agreement: Agreement, storage: Storage, journal: Journal
    ) -> None:
        self._wire = wire
        self._agreement = agreement
        self._contexts = agreement.contexts
        self._caller = agreement.caller
        self._storage = storage
        self._journal = journal
        self._tally = Tally()
        self._command_bytes = bytearray()
        self._command: Command | None = None
        self._context_id = 0
        self._body: Body | None = None

    def run(self) -> None:
        """Accept and serve to the end. Nothing escapes: a bug of ours ends one association."""
        try:
            how = self._run()
        except Exception as why:  # noqa: BLE001 - the listener outlives a bug in one association
            how = "internal error"
            log.get().error("association.bug", where=where(why), error=type(why).__name__)
        finally:
            if self._body is not None:
                self._body.close()
            self._wire.close()
        self._tell_end()
        log.get().info(
            "association.closed",
            how=how,
            association=self._caller.association_id,
            ae_title=self._caller.ae_title,
            address=self._caller.address,
            accepted=self._tally.accepted,
            refused=self._tally.refused,
            size_bytes=self._tally.size_bytes,
            seconds=round(time.monotonic() - self._tally.started, 3),
        )

    def _tell_end(self) -> None:
        """Have what was taken compared with what arrives; priors are taken by somebody else."""
        caller = self._caller
        if not self._storage.is_prior(caller):
            told = caller.association_id, caller.ae_title, caller.address, self._tally.accepted
            self._journal.end(*told)

    def _run(self) -> str:
        try:
            self._wire.send(self._agreement.acceptance)
            while True:
                idle = self._command is None and not self._command_bytes
                kind, values = self._wire.read(self._place, between_messages=idle)
                if kind is Pdu.P_DATA:
                    for context_id, control, fragment in values:
                        self._take(context_id, control, fragment)
                elif kind is Pdu.RELEASE_RQ:
                    self._wire.send(RELEASE_RP)
                    return "released"
                else:
                    return "aborted by the peer"
        except Stopping:
            return self._abort(ABORT_BY_USER, "stopping")
        except Gone as why:
            self._note("connection.lost", why.how.name)
            return why.how.value
        except Broken as why:
            self._note("protocol.broken", str(why))
            return self._abort(why.pdu, str(why))

    def _place(self, context_id: int, control: int, count: int) -> memoryview | None:
        """Give where a fragment of the data set under way belongs."""
        if self._body is None or control & IS_COMMAND or context_id != self._context_id:
            return None
        return self._body.place(count)

    def _take(self, context_id: int, control: int, fragment: memoryview) -> None:
        """Take one fragment of the message under way (PS3.8 Annex E)."""
        if context_id not in self._contexts:
            raise Broken(Why.INVALID_PARAMETER, "used a context that was not accepted")
        if control & IS_COMMAND:
            self._take_command(context_id, control, fragment)
        elif self._body is None or context_id != self._context_id:
            raise Broken(Why.UNEXPECTED_PARAMETER, "sent a data set without its command")
        else:
            self._body.write(fragment)
            if control & IS_LAST:
                self._serve()

    def _take_command(self, context_id: int, control: int, fragment: memoryview) -> None:
        if self._command is not None:
            raise Broken(Why.UNEXPECTED_PARAMETER, "sent a command inside a data set")
        self._command_bytes += fragment
        if len(self._command_bytes) > MAX_COMMAND_BYTES:
            raise Broken(Why.NOT_SPECIFIED, "sent a command beyond the limit")
        if control & IS_LAST:
            self._command = read_command(self._command_bytes)
            self._context_id = context_id
            context = self._contexts[context_id]
            self._body = self._storage.body(self._command, context, self._caller)
            if not self._command.has_data_set:
                self._serve()

    def _serve(self) -> None:
        """Answer the message that is now whole."""
        command, body = self._command, self._body
        if command is None or body is None:
            return
        if command.field != Field.C_CANCEL:  # which asks for nothing and is never answered
            answer = self._answer(command, body)
            if answer.sop_instance_uid:
                command = replace(command, sop_instance_uid=answer.sop_instance_uid.encode())
            said = response(command, answer.status, answer.comment, answer.error_id)
            self._wire.send(data_pdus(self._context_id, said, self._agreement.max_answer_bytes))
        body.close()
        self._command, self._body = None, None
        self._command_bytes.clear()

    def _answer(self, command: Command, body: Body) -> Answer:
        context = self._contexts[self._context_id]
        if command.field == Field.C_ECHO:
            is_ours = context.abstract_syntax == VERIFICATION
            return Answer() if is_ours else Answer(CLASS_NOT_SUPPORTED, "not a C-ECHO context")
        if command.field != Field.C_STORE and command.field not in SERVED:
            return Answer(UNRECOGNISED_OPERATION, "not an operation that is served here")
        try:
            return self._keep(command, context, body)
        except Refused as why:
            return self._refuse(Answer(why.status, str(why), why.error_id))
        except Exception as why:  # noqa: BLE001 - our bug: answered as ours, and the next one is served
            log.get().error("instance.bug", where=where(why), error=type(why).__name__)
            return self._refuse(Answer(PROCESSING_FAILURE, "internal error"))

    def _keep(self, command: Command, context: Context, body: Body) -> Answer:
        """Put a message into the spool; when this returns, it is safe there."""
        if command.field in SERVED:
            services = self._storage.services
            chosen = services.serve(command, context, body, self._caller)
            return Answer(sop_instance_uid=chosen)
        self._storage.store(command, context, body, self._caller)
        self._tally.accepted += 1
        self._tally.size_bytes += body.size
        return Answer()

    def _refuse(self, answer: Answer) -> Answer:
        self._tally.refused += 1
        self._note("instance.refused", f"0x{answer.status:04X} {answer.comment}")
        return answer

    def _abort(self, pdu: bytes, how: str) -> str:
        try:
            self._wire.send(pdu)
        except Gone:
            return f"{how}, and gone"
        return how

    def _note(self, kind: str, code: str) -> None:
        caller = self._caller
        self._journal.note(kind, code=code, ae_title=caller.ae_title, address=caller.address)
