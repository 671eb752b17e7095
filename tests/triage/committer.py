"""A PACS that keeps what it is sent, and says so by Storage Commitment as a test tells it to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import N_ACTION_RSP

from tests.triage.peers import BOTH, destination
from triage.commitment import SOP_CLASS, SOP_INSTANCE
from triage.destinations import Dimse


@dataclass
class Committer:
    """How it reports, and what it was asked."""

    failure: int | None = None
    """Failure Reason of the objects asked about; none keeps them."""
    at_once: bool = False
    """Report on the same association."""
    statuses: list[int] = field(default_factory=lambda: [0x0000])
    """For one N-ACTION after the other; the last one for the rest."""
    stored: list[bytes] = field(default_factory=list)
    asked: list[Dataset] = field(default_factory=list)

    def answer_store(self, event: evt.Event) -> int:
        request: Any = event.request
        self.stored.append(request.DataSet.getvalue())
        return 0x0000

    def answer_action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status == 0x0000:
            self.asked.append(event.action_information)
        return status, None

    def note_sent(self, event: evt.Event) -> None:
        """Report once the answer to an N-ACTION has left."""
        if self.at_once and isinstance(event.message, N_ACTION_RSP) and self.asked:
            threading.Timer(0.05, self._report, (event.assoc, self.asked[-1])).start()

    def report_to(self, port: int, ae_title: str = "TRIAGE") -> list[int]:
        """Report everything asked so far, on an association of our own; gives the statuses."""
        ae = AE(ae_title="COMMITTER")
        ae.add_requested_context(SOP_CLASS, ImplicitVRLittleEndian)
        role = build_role(SOP_CLASS, scu_role=False, scp_role=True)
        association = ae.associate("127.0.0.1", port, ae_title=ae_title, ext_neg=[role])
        assert association.is_established
        [context] = association.accepted_contexts
        assert context.as_scp
        try:
            return [self._report(association, action) for action in self.asked]
        finally:
            association.release()

    def _report(self, association: Association, action: Dataset) -> int:
        report = Dataset()
        report.TransactionUID = action.TransactionUID
        if self.failure is None:
            report.ReferencedSOPSequence = action.ReferencedSOPSequence
        else:
            for item in action.ReferencedSOPSequence:
                item.FailureReason = self.failure
            report.FailedSOPSequence = action.ReferencedSOPSequence
        kind = 1 if self.failure is None else 2
        answer, _ = association.send_n_event_report(report, kind, SOP_CLASS, SOP_INSTANCE)
        return int(answer.Status)


@contextmanager
def committing(script: Committer, **changes: object) -> Iterator[Dimse]:
    """Run the PACS; gives it as a destination that is asked for commitment.

    One that reports at once is waited for as long as for any other answer.
    """
    if script.at_once:
        changes = {"commitment_linger_s": 10.0, **changes}
    ae = AE(ae_title="COMMITTER")
    ae.add_supported_context(SOP_CLASS, list(BOTH))
    ae.add_supported_context(Comprehensive3DSRStorage, list(BOTH))
    handlers: list[Any] = [
        (evt.EVT_C_STORE, script.answer_store),
        (evt.EVT_N_ACTION, script.answer_action),
        (evt.EVT_DIMSE_SENT, script.note_sent),
    ]
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield destination(server.socket.getsockname()[1], "COMMITTER", commitment=True, **changes)
    finally:
        server.shutdown()
