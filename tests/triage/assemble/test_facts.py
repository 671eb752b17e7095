"""The facts of one header."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from tests.triage.files import image
from triage.assemble.facts import Instance, instance
from triage.study import InstanceRef

REF = InstanceRef("1.2.3", "0" * 64, Path("x.dcm"))
PIXELS = np.zeros((4, 6), np.int16)


def facts(modality: str = "CT", **elements: object) -> Instance:
    return instance(REF, image(modality, PIXELS, number=7, **elements), has_pixels=True)


def code(value: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = value, meaning
    return Sequence([item])


def test_an_image_carries_its_geometry() -> None:
    found = facts(
        ImagePositionPatient=[1, 2, 3],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[0.5, 0.6],
    ).image
    assert found is not None
    assert (found.rows, found.columns, found.instance_number) == (4, 6, 7)
    assert found.image_position_mm == (1, 2, 3)
    assert found.image_orientation == (1, 0, 0, 0, 1, 0)
    assert found.pixel_spacing_mm == (0.5, 0.6)
    assert found.transfer_syntax_uid == "1.2.840.10008.1.2.1"


def test_imager_pixel_spacing_stands_in() -> None:
    found = facts("DX", ImagerPixelSpacing=[0.1, 0.2]).image
    assert found is not None
    assert found.pixel_spacing_mm == (0.1, 0.2)


@pytest.mark.parametrize("spacing", [[-1, 1], [0, 1], [1], ""])
def test_a_spacing_that_is_no_spacing_is_none(spacing: object) -> None:
    found = facts(PixelSpacing=spacing).image
    assert found is not None
    assert found.pixel_spacing_mm is None


@pytest.mark.parametrize("cosines", [[1, 0, 0, 1, 0, 0], [2, 0, 0, 0, 1, 0], [0] * 6, [1, 0, 0]])
def test_cosines_that_span_no_plane_are_none(cosines: list[float]) -> None:
    found = facts(ImageOrientationPatient=cosines).image
    assert found is not None
    assert found.image_orientation is None


@pytest.mark.parametrize(
    "sop_class", ["1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.2"]
)
def test_results_with_pixels_are_not_images(sop_class: str) -> None:
    assert facts(SOPClassUID=sop_class).image is None


def test_without_pixel_data_it_is_not_an_image() -> None:
    assert instance(REF, image("CT", PIXELS), has_pixels=False).image is None


class TestBodyPart:
    def test_it_is_stated(self) -> None:
        assert facts(BodyPartExamined="CHEST ").series.body_part_examined == "CHEST"

    @pytest.mark.parametrize("value", ["51185008", "T-D3000"])
    def test_else_it_is_the_region_code(self, value: str) -> None:
        region = code(value, "Thoracic structure")
        assert facts(AnatomicRegionSequence=region).series.body_part_examined == "CHEST"

    def test_else_it_is_the_codes_meaning(self) -> None:
        region = code("000", "Left big toe")
        assert facts(AnatomicRegionSequence=region).series.body_part_examined == "LEFT BIG TOE"

    def test_else_it_is_empty(self) -> None:
        assert facts().series.body_part_examined == ""


class TestView:
    @pytest.mark.parametrize(
        ("meaning", "view"),
        [
            ("postero-anterior", "PA"),
            ("Antero-Posterior", "AP"),
            ("left lateral", "LATERAL"),
            ("right anterior oblique", "LATERAL"),
        ],
    )
    def test_the_view_code_stands_in(self, meaning: str, view: str) -> None:
        found = facts("DX", ViewCodeSequence=code("x", meaning)).image
        assert found is not None
        assert found.view_position == view

    def test_view_position_wins(self) -> None:
        found = facts("DX", ViewPosition="PA", ViewCodeSequence=code("x", "left lateral")).image
        assert found is not None
        assert found.view_position == "PA"
