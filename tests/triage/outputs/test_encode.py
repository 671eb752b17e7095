"""Content items encoded directly: the same bytes as a general writer's."""

from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from tests.triage.outputs import studies
from triage.outputs import structured_report
from triage.outputs.encode import element, item
from triage.outputs.tidy import quiet


def by_pydicom(dataset: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, dataset, parent_encoding="utf-8")
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["triage", "research"])
def test_a_whole_report_is_written_as_pydicom_would(mode: str) -> None:
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    content = structured_report.build(assessment, studies.context(mode)).content
    with quiet():
        report = pydicom.dcmread(BytesIO(content))
        parsed = [report.ContentSequence, report.CurrentRequestedProcedureEvidenceSequence]
        again = BytesIO()
        _decoded(report)
        report.save_as(again)
    assert all(parsed)
    assert again.getvalue() == content


def _decoded(dataset: Dataset) -> None:
    """Take every element apart, so that it has to be written anew."""
    for one in dataset:
        if one.VR == "SQ":
            for inner in one.value:
                _decoded(inner)
    dataset.set_original_encoding(None, None)


def test_an_odd_value_is_padded_as_its_vr_wants() -> None:
    assert element(0x00081150, "UI", b"1.2").endswith(b"1.2\0")
    assert element(0x0040A160, "UT", b"abc").endswith(b"abc ")


def test_letters_beyond_ascii_are_utf_8() -> None:
    made = Dataset()
    made.TextValue = "Schädel"
    assert item(made)[8:] == by_pydicom(made)


def test_what_no_content_item_holds_is_refused() -> None:
    made = Dataset()
    made.PixelData = b"12"
    made["PixelData"].VR = "OW"
    with pytest.raises(TypeError):
        item(made)
