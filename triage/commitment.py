"""Storage Commitment in our words: what is asked for, and what a report says (PS3.4 annex J)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

SOP_CLASS: Final = "1.2.840.10008.1.20.1"
SOP_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""Well known."""
REQUEST: Final = 1
"""Action type of an N-ACTION."""
UNSPECIFIED: Final = 0x0110
"""Failure Reason where a report names none."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a destination said about one object."""

    transaction_uid: str
    sop_instance_uid: str
    failure_reason: int | None = None
    """Empty where it keeps the object."""


def request(transaction_uid: str, objects: Sequence[tuple[str, str]]) -> Dataset:
    """Give the action information of a request for (SOP class, SOP instance) pairs."""
    action = Dataset()
    action.TransactionUID = transaction_uid
    action.ReferencedSOPSequence = [_item(*one) for one in objects]
    return action


def promises(report: Dataset) -> tuple[Promise, ...]:
    """Read an N-EVENT-REPORT's information, whichever its event type.

    Raises:
        ValueError: it names no transaction.
    """
    transaction = str(report.get("TransactionUID", ""))
    if not transaction:
        msg = "a commitment report without Transaction UID"
        raise ValueError(msg)
    failed = {
        str(item.get("ReferencedSOPInstanceUID", "")): int(item.get("FailureReason") or UNSPECIFIED)
        for item in report.get("FailedSOPSequence", ())
    }
    kept = {
        str(item.get("ReferencedSOPInstanceUID", ""))
        for item in report.get("ReferencedSOPSequence", ())
    } - set(failed)
    return (
        *(Promise(transaction, uid) for uid in sorted(kept) if uid),
        *(Promise(transaction, uid, reason) for uid, reason in sorted(failed.items()) if uid),
    )


def _item(sop_class: str, sop_instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return item
