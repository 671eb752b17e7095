"""A glance says what the full reader says, or nothing."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tests.triage import files
from tests.triage.files import write
from tests.triage.outputs import received, studies
from triage.errors import Broken, Held
from triage.outputs import source
from triage.outputs.glance import PLACE, Glance, glance
from triage.outputs.tidy import plain, quiet
from triage.study import InstanceRef

PIXELS = np.zeros((8, 8), np.uint16)
KEYWORDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality")


def image(modality: str, number: int = 1) -> FileDataset:
    return files.image(modality, PIXELS, number=number)


def read(path: Path) -> Dataset:
    return pydicom.dcmread(path, stop_before_pixels=True)


def agrees(short: Glance, header: Dataset) -> bool:
    words = [plain(header, keyword) for keyword in KEYWORDS]
    numbers = [int(header.get(keyword) or 0) for keyword in ("Rows", "Columns")]
    return words == [short.text(tag) for tag in PLACE[:4]] and numbers == [
        short.number(tag) for tag in PLACE[4:]
    ]


def nested(header: Dataset, *, undefined: bool) -> None:
    """Hide another patient where a careless reader would find him."""
    inner, outer = Dataset(), Dataset()
    inner.PatientID, inner.PatientName = "SOMEONE-ELSE", "Else^Someone"
    inner.RequestedProcedureID = "7"
    outer.PatientID = "NOBODY"
    outer.ReferencedRequestSequence = [inner]
    header.OtherPatientIDsSequence = [outer, inner]
    header.RequestAttributesSequence = [inner]
    for sequence in (header["OtherPatientIDsSequence"], outer["ReferencedRequestSequence"]):
        sequence.is_undefined_length = undefined
    for item in (inner, outer):
        item.is_undefined_length_sequence_item = undefined


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_it_passes_over_what_is_nested(tmp_path: Path, syntax: UID, *, undefined: bool) -> None:
    header = image("DX")
    nested(header, undefined=undefined)
    path = write(header, tmp_path / "one.dcm")
    made = pydicom.dcmread(path)
    made.file_meta.TransferSyntaxUID = syntax
    made.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    short = glance(path)
    assert short is not None
    assert agrees(short, read(path))
    assert b"SOMEONE-ELSE" not in {value.strip(b"\0 ") for value in short.values.values()}
    assert str(made.PatientID).encode() in {value.strip() for value in short.values.values()}


@pytest.mark.skipif(not received.listed(), reason="no shared test data")
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")
def test_it_agrees_with_the_full_reader_on_files_of_scanners() -> None:
    seen = 0
    for paths in received.listed().values():
        with quiet():
            header, short = read(paths[0]), glance(paths[0])
            assert short is None or agrees(short, header), paths[0].name
        seen += short is not None
    assert seen > 40


def test_it_tells_patients_apart_by_any_element_of_identity(tmp_path: Path) -> None:
    first = image("DX")
    alike = glance(write(first, tmp_path / "0.dcm"))
    assert alike is not None
    for number, keyword in enumerate(
        ("PatientID", "PatientName", "PatientBirthDate", "AccessionNumber", "StudyID")
    ):
        other = image("DX")
        setattr(other, keyword, "19010101" if keyword.endswith("Date") else "OTHER")
        short = glance(write(other, tmp_path / f"{number + 1}.dcm"))
        assert short is not None
        assert short.identity != alike.identity, keyword


def test_it_says_nothing_of_what_it_does_not_understand(tmp_path: Path) -> None:
    path = write(image("DX"), tmp_path / "whole.dcm")
    content = path.read_bytes()
    odd = tmp_path / "odd.dcm"
    for cut in (0, 60, 133, 150, 400, 700):
        odd.write_bytes(content[:cut])
        assert glance(odd) is None
    deflated = pydicom.dcmread(path)
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    buffer = BytesIO()
    deflated.save_as(buffer)
    odd.write_bytes(buffer.getvalue())
    assert glance(odd) is None
    assert glance(tmp_path / "absent.dcm") is None


class TestASourceReadByGlances:
    def paths(self, folder: Path, **last: str) -> list[Path]:
        found = []
        for number in range(4):
            one = image("CT", number)
            for keyword, value in (last if number == 3 else {}).items():
                setattr(one, keyword, value)
            found.append(write(one, folder / f"{number}.dcm"))
        return found

    def test_every_instance_has_its_place(self, tmp_path: Path) -> None:
        paths = self.paths(tmp_path)
        made = source.read(studies.assessed(paths))
        assert [one.sop_instance_uid for one in made.evidence] == [
            str(read(path).SOPInstanceUID) for path in paths
        ]
        assert len({one.rows for one in made.evidence}) == 1

    def test_the_last_slice_of_another_patient_holds_the_study(self, tmp_path: Path) -> None:
        with pytest.raises(Held):
            source.read(studies.assessed(self.paths(tmp_path, PatientName="Else^Someone")))

    def test_a_file_that_became_another_instance_is_found(self, tmp_path: Path) -> None:
        paths = self.paths(tmp_path)
        assessment = studies.assessed(paths)
        paths[2].write_bytes(paths[3].read_bytes())
        with pytest.raises(Broken, match="another instance"):
            source.read(assessment)

    def test_a_file_that_is_gone_is_found(self, tmp_path: Path) -> None:
        paths = self.paths(tmp_path)
        assessment = studies.assessed(paths)
        paths[2].unlink()
        with pytest.raises(Broken, match="missing"):
            source.read(assessment)


def test_a_reference_is_all_that_a_header_needs(tmp_path: Path) -> None:
    path = write(image("DX"), tmp_path / "one.dcm")
    uid = str(read(path).SOPInstanceUID)
    found = source.header_of(InstanceRef(uid, "", path))
    assert found is not None
    assert found.SOPInstanceUID == uid


def same(path: Path, like: Glance | None) -> bool:
    """Tell whether a look at the neighbour's layout changes nothing."""
    alone, beside = glance(path), glance(path, like)
    if alone is None or beside is None:
        return alone is beside
    return alone == beside and alone.values == beside.values


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_neighbours_layout_changes_nothing_that_is_read(tmp_path: Path, syntax: UID) -> None:
    first = image("DX")
    first.file_meta.TransferSyntaxUID = syntax
    path = write(first, tmp_path / "first.dcm")
    like = glance(path)
    assert like is not None
    assert like.layout is not None
    content = path.read_bytes()
    random = np.random.default_rng(0)
    other = tmp_path / "other.dcm"
    for number in range(400):
        changed = bytearray(content)
        for place in random.integers(128, 1200, 1 + number % 3):
            changed[min(place, len(changed) - 1)] = random.integers(0, 256)
        other.write_bytes(changed)
        assert same(other, like), number
    for cut in range(130, len(content), 37):
        other.write_bytes(content[:cut])
        assert same(other, like), cut


def test_of_another_layout_or_patient_the_neighbour_says_nothing(tmp_path: Path) -> None:
    like = glance(write(image("DX"), tmp_path / "first.dcm"))
    for number, patient in enumerate(("P2", "A LONGER NAME", "")):
        other = image("DX", number=number + 2)
        other.PatientID = patient
        path = write(other, tmp_path / f"{number}.dcm")
        assert same(path, like)
        short = glance(path, like)
        assert short is not None
        assert agrees(short, read(path))


def test_a_layout_with_a_sequence_without_length_is_not_kept(tmp_path: Path) -> None:
    header = image("DX")
    nested(header, undefined=True)
    short = glance(write(header, tmp_path / "one.dcm"))
    assert short is not None
    assert short.layout is None
