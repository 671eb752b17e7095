"""A manager that shares nothing with ours: pynetdicom and a dictionary.

It answers C302 to whoever claims an item that is in progress, its own performer included, as some
managers do.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepWatch,
)


@dataclass
class Item:
    dataset: Dataset
    state: str = "SCHEDULED"
    lock: str | None = None
    claims: list[str] = field(default_factory=list)
    changes: list[Dataset] = field(default_factory=list)


class StandIn:
    """The manager; its items are there to look at."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.watchers: list[str] = []
        self.claimed = threading.Event()
        self.answer_claims = threading.Event()
        self.answer_claims.set()
        self.busy = False
        self._server: Any = None
        self._associations: list[Any] = []

    def __enter__(self) -> "StandIn":
        ae = AE(ae_title="STANDIN")
        for sop_class in (UnifiedProcedureStepPull, UnifiedProcedureStepWatch):
            ae.add_supported_context(sop_class, ExplicitVRLittleEndian)
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, lambda event: self._associations.append(event.assoc)),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_N_GET, self._get),
            (evt.EVT_N_SET, self._set),
            (evt.EVT_N_ACTION, self._act),
        ]
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *_: object) -> None:
        self.answer_claims.set()
        self._server.shutdown()
        for association in self._associations:  # a killed peer's socket is left open
            association.join(5)
            wrapped = association.dul.socket
            if wrapped is not None and wrapped.socket is not None:
                wrapped.socket.close()

    @property
    def port(self) -> int:
        port: int = self._server.socket.getsockname()[1]
        return port

    def add(self, uid: str, item: Dataset) -> Item:
        item.SOPInstanceUID = uid
        self.items[uid] = Item(item)
        return self.items[uid]

    def ask_cancel(self, uid: str, port: int) -> int:
        """Send the event to the performer's port; gives its status."""
        ae = AE(ae_title="STANDIN")
        ae.add_requested_context(UnifiedProcedureStepEvent, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", port)
        assert association.is_established
        told = Dataset()
        told.RequestingAE = "SOMEBODY"
        answer, _ = association.send_n_event_report(told, 2, UnifiedProcedureStepEvent, uid)
        association.release()
        return int(answer.Status)

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        wanted = event.identifier.ProcedureStepState
        for item in list(self.items.values()):
            if item.state == wanted:
                answer = Dataset()
                for key in event.identifier:
                    if key.tag in item.dataset:
                        answer.add(item.dataset[key.tag])
                yield 0xFF00, answer

    def _get(self, event: evt.Event) -> tuple[int, Dataset | None]:
        item = self.items.get(str(event.request.RequestedSOPInstanceUID))  # type: ignore[union-attr]
        if item is None:
            return 0xC307, None
        answer = Dataset()
        answer.update(item.dataset)
        answer.ProcedureStepState = item.state
        return 0x0000, answer

    def _set(self, event: evt.Event) -> tuple[int, Dataset | None]:
        item = self.items.get(str(event.request.RequestedSOPInstanceUID))  # type: ignore[union-attr]
        change = event.modification_list
        if item is None:
            return 0xC307, None
        if item.state in {"COMPLETED", "CANCELED"}:
            return 0xC300, None
        if item.state == "IN PROGRESS" and change.get("TransactionUID") != item.lock:
            return 0xC301, None
        item.changes.append(change)
        item.dataset.update(change)
        return 0x0000, Dataset()

    def _act(self, event: evt.Event) -> tuple[int, Dataset | None]:
        item = self.items.get(str(event.request.RequestedSOPInstanceUID))  # type: ignore[union-attr]
        told = event.action_information
        if item is None or self.busy:
            return 0x0110 if self.busy else 0xC307, None
        if event.action_type == 3:
            self.watchers.append(told.ReceivingAE)
            return 0x0000, None
        if told.ProcedureStepState == "IN PROGRESS":
            return self._claim(item, str(told.TransactionUID)), None
        if told.TransactionUID != item.lock:
            return 0xC301, None
        item.state = told.ProcedureStepState
        return 0x0000, None

    def _claim(self, item: Item, lock: str) -> int:
        item.claims.append(lock)
        if item.state != "SCHEDULED":
            return 0xC302
        item.state, item.lock = "IN PROGRESS", lock
        self.claimed.set()
        self.answer_claims.wait(60)
        return 0x0000
