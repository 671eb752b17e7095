"""The parts of one store request: judged, written and synced as the listener does with a C-STORE.

The same walk, the same limits, the same spool: whichever way an instance comes, its custody and
its digest are the same. Nothing here needs the database.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from triage import log
from triage.dicomweb.held import Held, TooLarge
from triage.dicomweb.multipart import Malformed, parameters
from triage.dicomweb.part10 import Meta, check_syntax, read_meta
from triage.errors import Refused
from triage.receive.negotiation import is_storage
from triage.receive.part10 import Caller, file_header
from triage.receive.pdu import where
from triage.receive.scan import scan
from triage.receive.storage import (
    CLASS_NOT_SUPPORTED,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    Storage,
)
from triage.receive.walk import CANNOT_UNDERSTAND
from triage.settings import Listener
from triage.spool import Spool

DICOM: Final = "application/dicom"
WRONG_STUDY: Final = 0xA901
"""Of the range "does not match" (PS3.18 Table I.2-2): the request is for another study."""
BINARY: Final = frozenset(("", "binary", "8bit"))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one part."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    failure: int = 0
    """A Failure Reason (PS3.18 Table I.2-2); 0 for what is stored."""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """What one request may bring."""

    study_instance_uid: str = ""
    """Of this study only; empty for any."""
    max_instances: int = 20_000


class Intake:
    """Takes the parts of one request; ``outcomes`` tells what became of each."""

    def __init__(self, spool: Spool, limits: Listener, caller: Caller, terms: Terms) -> None:
        self.outcomes: list[Outcome] = []
        self._spool = spool
        self._limits = limits
        self._storage = Storage(spool, limits)
        self._caller = caller
        self._terms = terms
        self._body: Held | None = None
        self._refusal: Refused | None = None

    def begin(self, headers: Mapping[str, str]) -> None:
        """Begin a part.

        Raises:
            TooLarge: there were enough.
        """
        if len(self.outcomes) >= self._terms.max_instances:
            msg = f"more than {self._terms.max_instances} instances in one request"
            raise TooLarge(msg)
        kind, _ = parameters(headers.get("content-type", DICOM))
        encoding = headers.get("content-transfer-encoding", "").lower()
        self._refusal = None
        if kind != DICOM or encoding not in BINARY:
            self._refusal = Refused(CANNOT_UNDERSTAND, "a part is not application/dicom")
        self._body = Held(self._spool.tmp, self._limits.max_instance_bytes, self._storage.has_room)

    def write(self, fragment: memoryview) -> None:
        """Take some bytes of the part.

        Raises:
            TooLarge: the instance is larger than the listener takes.
        """
        if self._body is None:
            msg = "bytes without a part"
            raise Malformed(msg)
        self._body.write(fragment)

    def end(self) -> None:
        """Judge the part and put it into the spool; when this returns, its outcome stands."""
        body, self._body = self._body, None
        if body is None:
            return
        try:
            self.outcomes.append(self._settle(body))
        finally:
            body.close()

    def close(self) -> None:
        """Let go of a part that never became whole, and tell what was taken."""
        if self._body is not None:
            self._body.close()
            self._body = None
        caller, stored = self._caller, sum(not one.failure for one in self.outcomes)
        journal = self._spool.journal
        journal.end(caller.association_id, caller.ae_title, caller.address, stored)
        log.get().info(
            "association.closed", how="a store request", association=caller.association_id,
            ae_title=caller.ae_title, address=caller.address, accepted=stored,
            refused=len(self.outcomes) - stored,
        )  # fmt: skip

    def _settle(self, body: Held) -> Outcome:
        meta = None
        try:
            self._check_place()
            with memoryview(body.content()) as content:
                meta = read_meta(content)
                with content[meta.start :] as data:
                    return self._store(meta, data)
        except Refused as why:
            return _failed(meta, why.status, str(why))
        except (OSError, MemoryError) as why:
            number = getattr(why, "errno", None)
            log.get().warning("spool.refused", error=type(why).__name__, errno=number)
            return _failed(meta, OUT_OF_RESOURCES, "the spool cannot take it now")
        except Exception as why:  # noqa: BLE001 - our bug: answered as ours, and the next one is served
            log.get().error("instance.bug", where=where(why), error=type(why).__name__)
            return _failed(meta, PROCESSING_FAILURE, "internal error")

    def _check_place(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        if not self._storage.has_room():
            raise Refused(OUT_OF_RESOURCES, "the spool is nearly full")

    def _store(self, meta: Meta, data: memoryview) -> Outcome:
        check_syntax(meta)
        scanned = scan(data, meta.transfer_syntax_uid)
        if not is_storage(scanned.sop_class_uid):
            raise Refused(CLASS_NOT_SUPPORTED, "SOP class not supported")
        if self._terms.study_instance_uid not in {"", scanned.study_instance_uid}:
            raise Refused(WRONG_STUDY, "the instance belongs to another study")
        self._spool.write(file_header(scanned, meta.transfer_syntax_uid, self._caller), data)
        return Outcome(
            scanned.sop_class_uid,
            scanned.sop_instance_uid,
            scanned.study_instance_uid,
            scanned.series_instance_uid,
        )


def _failed(meta: Meta | None, status: int, comment: str) -> Outcome:
    if meta is None:
        return Outcome(failure=status, comment=comment)
    return Outcome(meta.sop_class_uid, meta.sop_instance_uid, failure=status, comment=comment)
