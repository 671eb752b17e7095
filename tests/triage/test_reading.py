"""How a site reads, as its settings say it."""

import pytest
from pydantic import ValidationError

from triage.reading import Reading

IID = "https://pacs.example/IHEInvokeImageDisplay?requestType=STUDY&studyUID={StudyInstanceUID}"
STUDY = {"StudyInstanceUID": "2.25.7", "AccessionNumber": "A 1&x={PatientID}", "PatientID": "P/1"}


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("", ""),
        (IID, "https://pacs.example/IHEInvokeImageDisplay?requestType=STUDY&studyUID=2.25.7"),
        (
            "http://pacs/{PatientID}/?a={AccessionNumber}&a2={AccessionNumber}",
            "http://pacs/P%2F1/?a=A%201%26x%3D%7BPatientID%7D&a2=A%201%26x%3D%7BPatientID%7D",
        ),
    ],
)
def test_a_study_s_address_at_the_pacs_is_filled_with_escaped_values(
    address: str, found: str
) -> None:
    assert Reading(pacs_viewer=address).at_pacs(STUDY) == found


def test_an_address_by_accession_number_is_none_for_a_study_without_one() -> None:
    reading = Reading(pacs_viewer="https://pacs/{AccessionNumber}?p={PatientID}")
    assert reading.at_pacs(STUDY | {"AccessionNumber": ""}) == ""


def test_an_address_by_both_takes_what_there_is() -> None:
    reading = Reading(pacs_viewer="https://pacs/?s={StudyInstanceUID}&a={AccessionNumber}")
    assert reading.at_pacs(STUDY | {"AccessionNumber": ""}) == "https://pacs/?s=2.25.7&a="


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("https://pacs/", "it names"),
        ("https://pacs/{PatientID}", "it names"),
        ("https://pacs/{StudyInstanceUID}/{PatientName}", "it names"),
        ("https://pacs/{StudyInstanceUID!r}{StudyInstanceUID}", "it names"),
        ("https://pacs/{StudyInstanceUID}{", "it names"),
        ("javascript:open('{StudyInstanceUID}')", "it begins with"),
        ("//pacs/{StudyInstanceUID}", "it begins with"),
        ("https://{StudyInstanceUID}.example/", "it begins with"),
        ("https:///{StudyInstanceUID}", "it begins with"),
        ("https://pacs/a b/{StudyInstanceUID}", "neither spaces"),
        ("https://pacs/\r\nX: {StudyInstanceUID}", "neither spaces"),
        ("https://päcs/{StudyInstanceUID}", "neither spaces"),
        ("https://[pacs/{StudyInstanceUID}", "Invalid IPv6"),
    ],
)
def test_what_is_no_address_of_a_study_is_refused_with_the_reason(address: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Reading(pacs_viewer=address)
