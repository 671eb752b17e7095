"""What we take, and the A-ASSOCIATE-AC or -RJ that says so (PS3.8 9.3.3 and 9.3.4)."""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationVersionNameNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import (
    AllStoragePresentationContexts,
    PresentationContext,
    build_context,
    negotiate_as_acceptor,
)

from triage import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from triage.commitment import SOP_CLASS as STORAGE_COMMITMENT
from triage.receive.request import ACCEPTABLE, MAX_REMEMBERED, PREFERRED, AssociateRequest
from triage.receive.scan import EXPLICIT_LITTLE, IMPLICIT_LITTLE

VERIFICATION: Final = "1.2.840.10008.1.1"
PERFORMED_STEP: Final = "1.2.840.10008.3.1.2.3.3"
"""Modality Performed Procedure Step (PS3.4 F.7)."""
AVAILABILITY: Final = "1.2.840.10008.5.1.4.33"
"""Instance Availability Notification (PS3.4 R)."""
NOTIFIED: Final = frozenset((PERFORMED_STEP, AVAILABILITY, STORAGE_COMMITMENT))
"""Their messages are data sets alone, and come in these two transfer syntaxes."""
PLAIN: Final = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
STORAGE: Final = frozenset(str(one.abstract_syntax) for one in AllStoragePresentationContexts)
STORAGE_ROOTS: Final = ("1.2.840.10008.5.1.4.1.1.", "1.2.840.10008.5.1.4.34.")
ACCEPTED: Final = 0
NO_ABSTRACT_SYNTAX: Final = 3
NO_TRANSFER_SYNTAX: Final = 4


class Rejection(Enum):
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

    NO_CONTEXT = (1, 1, 1)
    APPLICATION_CONTEXT = (1, 1, 2)
    CALLING_AE_TITLE = (1, 1, 3)
    CALLED_AE_TITLE = (1, 1, 7)
    PROTOCOL_VERSION = (1, 2, 2)
    CONGESTION = (2, 3, 1)
    """For now: the disk is nearly full."""
    LOCAL_LIMIT = (2, 3, 2)

    @property
    def pdu(self) -> bytes:
        """Give the whole PDU."""
        primitive = A_ASSOCIATE()
        primitive.result, primitive.result_source, primitive.diagnostic = self.value
        return A_ASSOCIATE_RJ(primitive).encode()


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


def negotiate(request: AssociateRequest) -> list[PresentationContext]:
    """Give the answer to each proposed presentation context."""
    return list(_negotiated(request))


def accepted(answers: list[PresentationContext]) -> dict[int, Context]:
    """Give the presentation contexts that were taken, by their ID."""
    return {
        one.context_id: Context(str(one.abstract_syntax), str(one.transfer_syntax[0]))
        for one in answers
        if one.result == ACCEPTED and one.context_id is not None
    }


def acceptance(
    request: AssociateRequest, answers: list[PresentationContext], max_pdu_bytes: int
) -> bytes:
    """Give the A-ASSOCIATE-AC. Asynchronous operations are answered with one at a time.

    A peer that comes to report on Storage Commitment is its provider; we are its user. One that
    asks is the user, which needs no word.
    """
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID(APPLICATION_CONTEXT)
    primitive.called_ae_title = request.called_ae_title
    primitive.calling_ae_title = request.calling_ae_title
    primitive.presentation_context_definition_results_list = answers
    primitive.maximum_length_received = max_pdu_bytes
    primitive.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    if request.wants_async:
        window = AsynchronousOperationsWindowNegotiation()
        window.maximum_number_operations_invoked = 1
        window.maximum_number_operations_performed = 1
        primitive.user_information.append(window)
    if request.reports_commitments:
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid = UID(STORAGE_COMMITMENT)
        role.scu_role, role.scp_role = request.asks_commitments, True
        primitive.user_information.append(role)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    primitive.user_information.append(version)
    return A_ASSOCIATE_AC(primitive).encode()


@lru_cache(maxsize=1024)
def is_storage(uid: str) -> bool:
    """Tell whether instances of this SOP class come by C-STORE and belong to a patient.

    Private classes are taken for such, and so are retired ones and classes under the storage
    root that are newer than our dictionary.
    """
    if uid in STORAGE or not uid.startswith("1.2.840.10008."):
        return bool(uid)
    return uid.startswith(STORAGE_ROOTS) and (UID(uid).type == "" or "Storage" in UID(uid).name)


@lru_cache(maxsize=MAX_REMEMBERED)
def _negotiated(request: AssociateRequest) -> tuple[PresentationContext, ...]:
    commits = request.asks_commitments or request.reports_commitments
    return tuple(_answer(proposal, commits=commits) for proposal in request.proposals)


def _answer(proposal: PresentationContext, *, commits: bool) -> PresentationContext:
    """Let pynetdicom negotiate one proposal with what we support of it.

    Its acceptor goes by its own order and one list for a class; ours goes by the peer's, and two
    proposals for a class are two.
    """
    syntax = proposal.abstract_syntax or UID("")
    is_ours = syntax == VERIFICATION or syntax in NOTIFIED or is_storage(syntax)
    is_ours = is_ours and (commits or syntax != STORAGE_COMMITMENT)
    if not syntax or not proposal.transfer_syntax:  # was no UID, which pynetdicom does not expect
        answer = build_context(syntax, IMPLICIT_LITTLE)
        answer.result = NO_TRANSFER_SYNTAX if is_ours else NO_ABSTRACT_SYNTAX
        answer.context_id = proposal.context_id
        return answer
    [answer] = negotiate_as_acceptor([proposal], [_supported(proposal)] if is_ours else [])[0]
    return answer


def _supported(proposal: PresentationContext) -> PresentationContext:
    ours = PresentationContext()
    ours.abstract_syntax = proposal.abstract_syntax
    takes = PLAIN if proposal.abstract_syntax in NOTIFIED else ACCEPTABLE
    offered = [one for one in proposal.transfer_syntax if one in takes]
    ours.transfer_syntax = sorted(offered, key=lambda one: one not in PREFERRED)
    return ours
