"""A PACS that answers what a test tells it to, on a real socket."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, evt

from triage.destinations import Dimse
from triage.dimse import STUDY_ROOT_FIND, VERIFICATION

REFUSED = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
"""For tests with nobody listening: pynetdicom shuts a refused socket down but does not close it."""
STORAGE = (CTImageStorage, Comprehensive3DSRStorage)
BOTH = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


@dataclass
class Scripted:
    """What the peer answers, and what it was asked."""

    statuses: list[int] = field(default_factory=lambda: [0x0000])
    """For one C-STORE after the other; the last one for the rest."""
    finds: bool | None = True
    """What is asked for: all, nothing, or (None) what it took and no more, as a PACS does."""
    held: set[str] = field(default_factory=set)
    """The SOP Instance UIDs that it took."""
    stored: list[bytes] = field(default_factory=list)
    """The data sets as they came."""
    queries: list[Dataset] = field(default_factory=list)
    requested: list[tuple[str, ...]] = field(default_factory=list)
    """The proposed presentation contexts of each association."""
    callers: list[tuple[str, str]] = field(default_factory=list)
    """Their AE titles and implementation class UIDs."""
    abort: bool = False

    def answer_store(self, event: evt.Event) -> int:
        request: Any = event.request
        self.stored.append(request.DataSet.getvalue())
        if self.abort:
            self.held.add(str(request.AffectedSOPInstanceUID))
            event.assoc.abort()
            return 0x0000
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status == 0x0000 or status & 0xF000 == 0xB000:
            self.held.add(str(request.AffectedSOPInstanceUID))
        return status

    def answer_find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        self.queries.append(query)
        if query.get("SOPInstanceUID") in self.held if self.finds is None else self.finds:
            yield 0xFF00, query
        yield 0x0000, None

    def note_request(self, event: evt.Event) -> None:
        caller = event.assoc.requestor
        assert caller.primitive is not None
        self.callers.append(
            (str(caller.primitive.calling_ae_title).strip(), str(caller.implementation_class_uid))
        )
        self.requested.append(
            tuple(
                f"{context.abstract_syntax} {context.transfer_syntax[0]}"
                for context in caller.requested_contexts
            )
        )


@contextmanager
def scripted(
    script: Scripted,
    *,
    storage: tuple[str, ...] = STORAGE,
    syntaxes: tuple[str, ...] = BOTH,
    find: bool = True,
) -> Iterator[Dimse]:
    """Run the peer; gives it as a destination."""
    ae = AE(ae_title="SCRIPTED")
    ae.add_supported_context(VERIFICATION)
    if find:
        ae.add_supported_context(STUDY_ROOT_FIND)
    for sop_class in storage:
        ae.add_supported_context(sop_class, list(syntaxes))
    handlers: list[Any] = [
        (evt.EVT_C_STORE, script.answer_store),
        (evt.EVT_C_FIND, script.answer_find),
        (evt.EVT_REQUESTED, script.note_request),
    ]
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield destination(server.socket.getsockname()[1], "SCRIPTED")
    finally:
        server.shutdown()


def destination(port: int, ae_title: str, **changes: object) -> Dimse:
    given = {"name": "pacs", "ae_title": ae_title, "host": "127.0.0.1", "port": port}
    return Dimse.model_validate({**given, "deadline_s": 10.0, **changes})
