"""A header is read for what decoding uses, and for nothing else."""

import re
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword

from tests.triage.files import bundled, image, write
from triage.preprocess import frames, headers, pixels, voi


class TestKeywords:
    @pytest.mark.parametrize("keyword", headers.KEYWORDS)
    def test_every_keyword_is_one_of_the_standard(self, keyword: str) -> None:
        assert tag_for_keyword(keyword) is not None

    @pytest.mark.parametrize("module", [frames, pixels, voi])
    def test_every_element_the_decoding_asks_for_is_read(self, module: object) -> None:
        source = Path(str(vars(module)["__file__"])).read_text()
        asked = {
            word
            for word in re.findall(r"""(?:"|header\.)([A-Z]\w+)""", source)
            if tag_for_keyword(word) is not None
        }
        # Inside the functional groups and the VOI LUT, whose items are read whole.
        nested = {
            *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"),
            *("PixelValueTransformationSequence", "LUTDescriptor", "TransferSyntaxUID"),
        }
        assert asked
        assert asked - nested <= set(headers.KEYWORDS)


class TestRead:
    def test_who_the_patient_is_and_private_elements_are_passed_over(self, tmp_path: Path) -> None:
        built = image("CT", np.zeros((4, 4), np.int16), PixelSpacing=[1.0, 1.0])
        built.private_block(0x0009, "TEST", create=True).add_new(1, "LO", "x")
        header = headers.read(write(built, tmp_path / "x.dcm"), with_pixels=True)
        assert "PatientName" in built
        assert "PatientName" not in header
        assert {element.tag.group for element in header} == {0x0008, 0x0028, 0x7FE0}

    @pytest.mark.parametrize(
        "name",
        ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "liver_1frame.dcm"],
    )
    def test_what_it_reads_equals_what_a_full_reading_finds(self, name: str) -> None:
        full = dcmread(bundled(name))
        header = headers.read(bundled(name), with_pixels=True)
        wanted = {element.keyword for element in full} & set(headers.KEYWORDS)
        assert {element.keyword for element in header} - {"SpecificCharacterSet"} == wanted
        for keyword in wanted:
            assert header[keyword] == full[keyword]

    def test_pixels_and_what_follows_them_stay_in_the_file(self, tmp_path: Path) -> None:
        built = image("CT", np.zeros((4, 4), np.int16))
        built.add_new(0xFFFCFFFC, "OB", b"\0" * 64)
        path = write(built, tmp_path / "x.dcm")
        assert "PixelData" not in headers.read(path, with_pixels=False)
        assert "PixelData" in headers.read(path, with_pixels=True)
        assert 0xFFFCFFFC not in headers.read(path, with_pixels=True)
