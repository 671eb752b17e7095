"""A status in words, checked against pynetdicom's own tables."""

import pytest
from pynetdicom.status import GENERAL_STATUS, STORAGE_SERVICE_CLASS_STATUS

from triage.deliver import meanings

KNOWN = {**GENERAL_STATUS, **STORAGE_SERVICE_CLASS_STATUS}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0x0000, "Stored"),
        (0x0122, "SOP class not supported"),
        (0xA700, "Out of resources"),
        (0xA7FF, "Out of resources"),
        (0xA901, "does not match its SOP class"),
        (0xB006, "elements discarded"),
        (0xB123, "with a warning"),
        (0xC000, "Cannot understand"),
        (409, "HTTP Conflict"),
        (503, "HTTP Service Unavailable"),
        (0xFFFF, "no standard names"),
    ],
)
def test_a_status_has_a_meaning(status: int, words: str) -> None:
    assert words in meanings.meaning(status)


def test_every_failure_that_pynetdicom_names_for_a_c_store_has_a_meaning() -> None:
    failures = {code for code, (kind, *_) in KNOWN.items() if kind == "Failure"}
    assert {code for code in failures if meanings.meaning(code) == meanings.UNKNOWN} <= {0x0114}


@pytest.mark.parametrize(("status", "text"), [(0xA700, "0xA700"), (0x0122, "0x0122"), (409, "409")])
def test_a_status_is_printed_as_its_protocol_does(status: int, text: str) -> None:
    assert meanings.label(status) == text


def test_what_nobody_can_name_sends_to_the_destinations_log() -> None:
    assert meanings.fix(None) == meanings.fix(0xC001) == meanings.LOOK
    assert "AE title" in meanings.fix(0x0124)
