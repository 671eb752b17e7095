"""C-STORE: judge, write, sync, and only then answer 0x0000."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from triage import log
from triage.errors import Refused
from triage.receive.body import Body
from triage.receive.command import Command, Field
from triage.receive.negotiation import Context, is_storage
from triage.receive.part10 import Caller, Named, file_header
from triage.receive.scan import DEFLATED_LITTLE, check_uid, scan
from triage.receive.services import Services
from triage.settings import Listener as Limits
from triage.spool import Spool, has_room

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
"""Ours to repair, and worth another try: never the 0xC000 that blames the instance."""
CLASS_NOT_SUPPORTED = 0x0122
OUT_OF_RESOURCES = 0xA700
MISMATCH = 0xA900


class Storage:
    """The storage service over one spool, shared by all associations."""

    def __init__(self, spool: Spool, limits: Limits) -> None:
        self._spool = spool
        self._limits = limits
        self.services = Services(spool)

    def body(self, command: Command, context: Context, caller: Caller) -> Body:
        """Give an empty body for a message to arrive in.

        What a C-STORE brings is written behind its file header at once; that the command's names
        are the data set's is judged before it is kept.
        """
        header = _header(command, context, caller)
        return Body(self._spool, self._limits.max_instance_bytes, self.has_room, header)

    def has_room(self) -> bool:
        """Tell whether the disk is above its watermark; one that does not answer is not."""
        return has_room(self._spool.root, self._limits.min_free_bytes)

    def is_prior(self, caller: Caller) -> bool:
        """Tell whether what an association brings waits apart, as priors do."""
        return caller.called_ae_title == self._limits.prior_ae_title

    def store(self, command: Command, context: Context, body: Body, caller: Caller) -> None:
        """Put one instance into the spool; when this returns, it is safe there.

        Raises:
            Refused: with the status to answer.
        """
        try:
            self._store(command, context, body, caller)
        except (OSError, MemoryError) as why:
            number = getattr(why, "errno", None)
            log.get().warning("spool.refused", error=type(why).__name__, errno=number)
            raise Refused(OUT_OF_RESOURCES, "the spool cannot take it now") from None

    def _store(self, command: Command, context: Context, body: Body, caller: Caller) -> None:
        named = _named(command)
        if named.sop_class_uid != context.abstract_syntax or not is_storage(named.sop_class_uid):
            raise Refused(CLASS_NOT_SUPPORTED, "SOP class is not the context's")
        is_deflated = context.transfer_syntax == DEFLATED_LITTLE
        scanned = scan(body.content(in_order=is_deflated), context.transfer_syntax)
        if (scanned.sop_class_uid, scanned.sop_instance_uid) != named:
            raise Refused(MISMATCH, "command and data set name different instances")
        body.keep(as_prior=self.is_prior(caller))


def _header(command: Command, context: Context, caller: Caller) -> Callable[[], bytes]:
    if command.field == Field.C_STORE:
        with suppress(Refused):  # it is told after its data set
            return partial(file_header, _named(command), context.transfer_syntax, caller)
    return bytes


def _named(command: Command) -> Named:
    sop_class = check_uid(command.sop_class_uid, "Affected SOP Class UID")
    return Named(sop_class, check_uid(command.sop_instance_uid, "Affected SOP Instance UID"))
