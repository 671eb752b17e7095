"""Rejection notes: they name what is taken back, say why, and other hands find them valid."""

import io
import subprocess
from pathlib import Path

import pydicom
import pytest
from highdicom.ko import KeyObjectSelectionDocument

from tests.servers import binary
from tests.triage.outputs import studies
from triage.errors import Broken
from triage.finding import Document
from triage.outputs import rejection_note, structured_report

WORDS = "Superseded by a newer report"


@pytest.fixture(scope="module")
def report() -> Document:
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    return structured_report.build(assessment, studies.context())


@pytest.mark.parametrize(
    ("title", "code"),
    [("quality", "113001"), ("patient-safety", "113037"), ("wrong-order", "113038")],
)
def test_the_title_says_why_and_the_evidence_names_the_report(
    report: Document, title: str, code: str
) -> None:
    document = rejection_note.build([report], title, WORDS, studies.context())
    note = pydicom.dcmread(io.BytesIO(document.content))
    named = pydicom.dcmread(io.BytesIO(report.content))
    assert note.ConceptNameCodeSequence[0].CodeValue == code
    [study] = note.CurrentRequestedProcedureEvidenceSequence
    [series] = study.ReferencedSeriesSequence
    [item] = series.ReferencedSOPSequence
    assert item.ReferencedSOPInstanceUID == report.sop_instance_uid
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber"):
        assert note[keyword] == named[keyword]
    assert note.SeriesInstanceUID != named.SeriesInstanceUID
    assert note.Modality == "KO"


def test_twice_is_once(report: Document) -> None:
    first, second = (
        rejection_note.build([report], "quality", WORDS, studies.context()) for _ in range(2)
    )
    assert first == second


def test_another_reason_is_another_note(report: Document) -> None:
    one, other = (
        rejection_note.build([report], title, WORDS, studies.context())
        for title in ("quality", "wrong-order")
    )
    assert one.sop_instance_uid != other.sop_instance_uid


def test_highdicom_reads_it_back_to_the_same_words(report: Document) -> None:
    document = rejection_note.build([report], "quality", WORDS, studies.context())
    note = KeyObjectSelectionDocument.from_dataset(pydicom.dcmread(io.BytesIO(document.content)))
    words = [str(item.TextValue) for item in note.ContentSequence if "TextValue" in item]
    assert WORDS in words
    assert note.resolve_reference(report.sop_instance_uid)[2] == report.sop_instance_uid


def test_dicom3tools_find_no_error(report: Document, tmp_path: Path) -> None:
    document = rejection_note.build([report], "patient-safety", WORDS, studies.context())
    path = tmp_path / "note.dcm"
    path.write_bytes(document.content)
    for tool in ("dciodvfy", "dcentvfy"):
        said = subprocess.run([binary(tool), path], capture_output=True, text=True, check=True)
        assert "Error" not in said.stderr + said.stdout


def test_documents_of_two_studies_make_no_note(report: Document) -> None:
    other = pydicom.dcmread(io.BytesIO(report.content))
    other.StudyInstanceUID += ".1"
    buffer = io.BytesIO()
    other.save_as(buffer)
    foreign = Document("structured_report", report.sop_class_uid, "2.25.1", buffer.getvalue())
    with pytest.raises(Broken, match="one study of one patient"):
        rejection_note.build([report, foreign], "quality", WORDS, studies.context())


def test_what_is_no_dicom_cannot_be_rejected() -> None:
    with pytest.raises(Broken, match="only DICOM objects"):
        rejection_note.build(
            [Document("hl7", "", "1", b"MSH|")], "quality", WORDS, studies.context()
        )


def test_a_note_about_something_else_does_not_leave(report: Document) -> None:
    note = rejection_note.build([report], "quality", WORDS, studies.context())
    with pytest.raises(Broken, match="did not name what it rejects"):
        rejection_note.check(note, [Document("x", "", "2.25.9", b"")], "quality")
