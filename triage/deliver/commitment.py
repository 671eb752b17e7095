"""Storage Commitment as a user: N-ACTION, and the N-EVENT-REPORTs that come at once (PS3.4 J).

A provider may report on the same association, or later on one that it opens to our listener; only
the second is promised, so nothing here waits for long.
"""

import threading
from collections.abc import Sequence
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.pdu import P_DATA_TF

from triage import commitment, dimse
from triage.commitment import Promise
from triage.destinations import Dimse
from triage.dimse import SUCCESS
from triage.errors import TryAgain

NO_SUCH_EVENT: Final = 0x0113


def request_commitment(
    transaction_uid: str, objects: Sequence[tuple[str, str]], to: Dimse
) -> tuple[Promise, ...]:
    """Ask for (SOP class, SOP instance) pairs; gives what was promised at once.

    One request an association: a report could meet a second request half way.

    Raises:
        TryAgain: nobody answers, or the request is not taken.
        Broken: the destination does not offer Storage Commitment.
    """
    post = Post({sop_instance for _, sop_instance in objects})
    with dimse.associate(
        to,
        [(commitment.SOP_CLASS, ExplicitVRLittleEndian)],
        handlers=[(evt.EVT_N_EVENT_REPORT, post.take), (evt.EVT_PDU_SENT, post.note_sent)],
    ) as association:
        answer, _ = association.send_n_action(
            commitment.request(transaction_uid, objects),
            commitment.REQUEST,
            commitment.SOP_CLASS,
            commitment.SOP_INSTANCE,
        )
        status = answer.get("Status")
        if status == SUCCESS:
            post.complete.wait(to.commitment_linger_s)
    if status is None:
        msg = f"{to.name}: no answer to the request for Storage Commitment"
        raise TryAgain(msg)
    if status != SUCCESS:
        msg = f"{to.name} did not take the request for Storage Commitment (0x{status:04X})"
        raise TryAgain(msg, status=int(status))
    return tuple(post.promises)


class Post:
    """Reports as they come in.

    It is complete when the last one's answer has left: a PACS that saw the association released
    before would hold its report for lost.
    """

    def __init__(self, awaited: set[str]) -> None:
        self.promises: list[Promise] = []
        self.complete = threading.Event()
        self._awaited = awaited
        self._is_last = False

    def take(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Keep what a report promises; gives the status to answer."""
        try:
            came = commitment.promises(event.event_information)
        except ValueError:
            return NO_SUCH_EVENT, None
        self.promises += came
        self._awaited -= {one.sop_instance_uid for one in came}
        self._is_last = not self._awaited
        return SUCCESS, None

    def note_sent(self, event: evt.Event) -> None:
        """After the last report the next data to leave is its answer."""
        if self._is_last and isinstance(event.pdu, P_DATA_TF):
            self.complete.set()
