"""Bad values are empty values; bad files are coded errors."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.triage.files import bundled, image, shared, write
from triage.assemble import header as reading
from triage.errors import Broken

# What pydicom warns of is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")


class TestFiles:
    def test_it_stops_at_the_pixels_and_says_whether_there_are_any(self) -> None:
        header, has_pixels = reading.read_header(bundled("CT_small.dcm"))
        assert has_pixels
        assert header.Rows == 128
        assert "PixelData" not in header
        assert not reading.read_header(bundled("test-SR.dcm"))[1]

    def test_only_wanted_elements_are_kept(self) -> None:
        header, _ = reading.read_header(bundled("CT_small.dcm"))
        assert {element.keyword for element in header} <= set(reading.WANTED)

    def test_what_is_not_dicom_is_unparsable(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"%PDF-1.7" * 100)
        with pytest.raises(Broken, match="unparsable"):
            reading.read_header(tmp_path / "x")

    def test_a_deflated_file_is_read(self) -> None:
        assert reading.read_header(bundled("image_dfl.dcm"))[1]

    def test_a_deflated_bomb_is_refused_before_it_is_inflated(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reading, "_MAX_INFLATED_BYTES", 2**24)
        built = image("CT", np.zeros((2, 2), np.int16))
        built.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        path = write(built, tmp_path / "bomb.dcm")
        content = path.read_bytes()
        start = 144 + int.from_bytes(content[140:144], "little")
        squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        zeros = b"".join(squeeze.compress(bytes(2**20)) for _ in range(20)) + squeeze.flush()
        path.write_bytes(content[:start] + zeros)
        assert len(zeros) < 2**16
        with pytest.raises(Broken, match="resource-limit"):
            reading.read_header(path)

    def test_hostile_files_are_read_or_refused_with_a_code(self) -> None:
        refused = 0
        for path in shared("dicom-bad/**/*.dcm"):
            try:
                header, _ = reading.read_header(path)
            except Broken:
                refused += 1
                continue
            for keyword in reading.WANTED:
                reading.texts(header, keyword)
                reading.numbers(header, keyword, 3)
                reading.items(header, keyword)
        assert 0 < refused < 60


class TestValues:
    @pytest.mark.parametrize(
        "value", ["1\\2", "1\\2\\nan", "1\\2\\inf", "1\\2\\x", "1\\2\\3\\4", ""]
    )
    def test_numbers_are_all_there_and_finite_or_none(self, value: str) -> None:
        header = Dataset()
        header.add_new("ImagePositionPatient", "UT", value)
        header["ImagePositionPatient"].value = value.split("\\")
        assert reading.numbers(header, "ImagePositionPatient", 3) is None

    @given(
        st.sampled_from(["IS", "DS", "US", "SS", "UL", "FD", "SQ", "UN", "PN", "LO", "UI", "AT"]),
        st.sampled_from(["InstanceNumber", "Rows", "PatientName", "ViewCodeSequence", "StudyDate"]),
        st.binary(max_size=40),
    )
    def test_no_bytes_make_it_stumble(self, vr: str, keyword: str, content: bytes) -> None:
        tag = Tag(keyword)
        header = Dataset()
        raw = RawDataElement(tag, vr, len(content), content, 0, False, True)
        header._dict[tag] = raw
        assert isinstance(reading.text(header, keyword), str)
        assert isinstance(reading.integer(header, keyword), int)
        assert all(isinstance(item, Dataset) for item in reading.items(header, keyword))


class TestAge:
    @pytest.mark.parametrize(
        ("stated", "years"),
        [("045Y", 45.0), ("006M", 0.5), ("010W", 70 / 365.25), ("003D", 3 / 365.25)],
    )
    def test_it_is_stated(self, stated: str, years: float) -> None:
        header = Dataset()
        header.PatientAge = stated
        assert reading.age_years(header) == pytest.approx(years)

    @pytest.mark.parametrize("stated", ["62", "", "abc", "45Y"])
    def test_else_it_is_the_time_since_birth(self, stated: str) -> None:
        header = Dataset()
        header.add_new("PatientAge", "LO", stated)
        header.PatientBirthDate, header.StudyDate = "19600301", "20200301"
        assert reading.age_years(header) == pytest.approx(60.0, abs=0.01)

    @pytest.mark.parametrize("born", ["", "20300101", "1960", "nonsense"])
    def test_else_it_is_unknown(self, born: str) -> None:
        header = Dataset()
        header.add_new("PatientBirthDate", "LO", born)
        header.StudyDate = "20200301"
        assert reading.age_years(header) is None
