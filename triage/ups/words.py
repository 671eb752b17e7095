"""The words of Unified Procedure Steps: UIDs, states, actions, events, and what a refusal means."""

from enum import IntEnum, StrEnum
from typing import Final

from pydicom.sr.coding import Code

from triage.errors import TriageError

PUSH: Final = "1.2.840.10008.5.1.4.34.6.1"
"""The SOP class of every work item, whatever class was negotiated (PS3.4 CC.3.1)."""
WATCH: Final = "1.2.840.10008.5.1.4.34.6.2"
PULL: Final = "1.2.840.10008.5.1.4.34.6.3"
EVENT: Final = "1.2.840.10008.5.1.4.34.6.4"
QUERY: Final = "1.2.840.10008.5.1.4.34.6.5"
GLOBAL: Final = "1.2.840.10008.5.1.4.34.5"
"""Instance of the global subscription (PS3.4 CC.2.3)."""
FILTERED: Final = "1.2.840.10008.5.1.4.34.5.1"

UNSPECIFIED: Final = Code("110513", "DCM", "Discontinued for unspecified reason")


class State(StrEnum):
    """Procedure Step State (0074,1000)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


FINAL: Final = frozenset({State.COMPLETED, State.CANCELED})


class Action(IntEnum):
    """N-ACTION's Action Type ID."""

    CHANGE_STATE = 1
    REQUEST_CANCEL = 2
    SUBSCRIBE = 3
    UNSUBSCRIBE = 4
    SUSPEND = 5


class Event(IntEnum):
    """N-EVENT-REPORT's Event Type ID (Table CC.2.4-1)."""

    STATE = 1
    CANCEL_REQUESTED = 2
    PROGRESS = 3
    SCP_STATUS = 4
    ASSIGNED = 5


class Status(IntEnum):
    """What the manager answers (Tables CC.2.1-2, CC.2.2-2, CC.2.3-3, CC.2.5-1; PS3.7 C)."""

    DONE = 0x0000
    SOME_ATTRIBUTES = 0x0001
    CREATED_MODIFIED = 0xB300
    ALREADY_CANCELED = 0xB304
    ALREADY_COMPLETED = 0xB306
    FINAL = 0xC300
    WRONG_TRANSACTION = 0xC301
    CLAIMED = 0xC302
    NOT_BY_CHANGE = 0xC303
    NOT_MET = 0xC304
    UNKNOWN = 0xC307
    UNKNOWN_AE = 0xC308
    NOT_SCHEDULED = 0xC309
    NOT_CLAIMED = 0xC310
    COMPLETED = 0xC311
    UNREACHABLE = 0xC312
    NOT_CANCELED = 0xC313
    WRONG_INSTANCE = 0xC314
    BAD_VALUE = 0x0106
    FAILED = 0x0110
    DUPLICATE = 0x0111
    BAD_ARGUMENT = 0x0115
    MISSING = 0x0120
    NO_ACTION = 0x0123
    NOT_ALLOWED = 0x0124


MEANINGS: Final[dict[Status, str]] = {
    Status.DONE: "Done",
    Status.SOME_ATTRIBUTES: "Requested optional Attributes are not supported.",
    Status.CREATED_MODIFIED: "The Workitem was created with modifications.",
    Status.ALREADY_CANCELED: "The UPS is already in the requested state of CANCELED.",
    Status.ALREADY_COMPLETED: "The UPS is already in the requested state of COMPLETED.",
    Status.FINAL: "The UPS may no longer be updated.",
    Status.WRONG_TRANSACTION: "The Transaction UID is incorrect.",
    Status.CLAIMED: "The UPS is already IN PROGRESS.",
    Status.NOT_BY_CHANGE: "The UPS may only become SCHEDULED when it is created.",
    Status.NOT_MET: "The UPS has not met final state requirements.",
    Status.UNKNOWN: "There is no such UPS here.",
    Status.UNKNOWN_AE: "The receiving AE title is unknown here.",
    Status.NOT_SCHEDULED: "The provided value of UPS State was not SCHEDULED.",
    Status.NOT_CLAIMED: "The target URI did not reference a claimed Workitem.",
    Status.COMPLETED: "The UPS is already COMPLETED.",
    Status.UNREACHABLE: "The performer cannot be contacted.",
    Status.NOT_CANCELED: "The performer chooses not to cancel.",
    Status.WRONG_INSTANCE: "The action is not appropriate for this instance.",
    Status.BAD_VALUE: "An attribute has a value that it may not have.",
    Status.FAILED: "Processing failure.",
    Status.DUPLICATE: "There is a UPS with this UID already.",
    Status.BAD_ARGUMENT: "An argument has a value that it may not have.",
    Status.MISSING: "An attribute is missing.",
    Status.NO_ACTION: "There is no such action.",
    Status.NOT_ALLOWED: "This is not allowed.",
}


class NotDone(TriageError):
    """The manager refused. Nothing was changed; ``status`` says why."""

    def __init__(self, status: Status, detail: str = "") -> None:
        self.status = status
        self.detail = detail
        super().__init__(detail or MEANINGS[status])
