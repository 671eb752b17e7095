"""What a report on Storage Commitment says."""

import pytest
from pydicom.dataset import Dataset

from triage import commitment
from triage.commitment import Promise

SR = "1.2.840.10008.5.1.4.1.1.88.34"


def report(kept: list[str], failed: dict[str, int | None]) -> Dataset:
    made = commitment.request("2.25.1", [(SR, one) for one in kept])
    made.FailedSOPSequence = commitment.request(
        "2.25.1", [(SR, one) for one in failed]
    ).ReferencedSOPSequence
    for item in made.FailedSOPSequence:
        reason = failed[item.ReferencedSOPInstanceUID]
        if reason is not None:
            item.FailureReason = reason
    return made


def test_what_is_kept_and_what_is_not() -> None:
    assert commitment.promises(report(["1.2"], {"1.3": 0x0112})) == (
        Promise("2.25.1", "1.2"),
        Promise("2.25.1", "1.3", 0x0112),
    )


def test_a_failure_without_reason_is_a_failure() -> None:
    [one] = commitment.promises(report([], {"1.3": None}))
    assert one.failure_reason == 0x0110


def test_what_is_named_as_both_is_not_kept() -> None:
    [one] = commitment.promises(report(["1.3"], {"1.3": 0x0112}))
    assert one.failure_reason == 0x0112


def test_a_report_on_no_transaction_is_refused() -> None:
    with pytest.raises(ValueError, match="Transaction"):
        commitment.promises(Dataset())
