"""Other managers, as their performer speaks to them: one set of verbs, two ways to say them."""

from collections.abc import Mapping
from typing import Final, Protocol

from pydicom.dataset import Dataset

from triage.ups.words import State

WANTED: Final[Mapping[str, str]] = {
    "ProcedureStepState": State.SCHEDULED,
    "InputReadinessState": "READY",
}
"""Matching keys of the items that wait for a performer."""
RETURNED: Final = (
    "SOPClassUID", "SOPInstanceUID", "ProcedureStepState", "StudyInstanceUID",
    "ScheduledWorkitemCodeSequence", "InputInformationSequence",
)  # fmt: skip
"""What we need to know of them."""


class Manager(Protocol):
    """One manager. Every verb may raise TryAgain (away or busy) and NotDone (refused)."""

    @property
    def name(self) -> str:
        """Give its name in the settings."""
        ...

    @property
    def codes(self) -> frozenset[str]:
        """Give the Scheduled Workitem Codes that we take from it; none means any."""
        ...

    def offers(self) -> list[Dataset]:
        """Give the items that wait for a performer, with RETURNED."""
        ...

    def get(self, uid: str) -> Dataset:
        """Give one whole item."""
        ...

    def claim(self, uid: str, transaction_uid: str) -> None:
        """Take an item under our lock."""
        ...

    def update(self, uid: str, transaction_uid: str, change: Dataset) -> None:
        """Write attributes of an item that is ours."""
        ...

    def finish(self, uid: str, transaction_uid: str, state: State) -> None:
        """Complete or cancel an item that is ours; once more is no error."""
        ...

    def watch(self, uid: str) -> None:
        """Ask to hear about an item."""
        ...

    def close(self) -> None:
        """Close what is open between two exchanges."""
        ...


def change_of(state: State, transaction_uid: str) -> Dataset:
    """Give the action information of Change UPS State (Table CC.2.1-1)."""
    told = Dataset()
    told.ProcedureStepState, told.TransactionUID = state.value, transaction_uid
    return told
