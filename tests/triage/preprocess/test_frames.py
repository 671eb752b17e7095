"""The frames of plain and multi-frame objects."""

import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence

from tests.triage.files import shared
from triage.errors import NotEligible
from triage.preprocess import frames


def group(keyword: str, **elements: object) -> Dataset:
    inner, outer = Dataset(), Dataset()
    for name, value in elements.items():
        setattr(inner, name, value)
    setattr(outer, keyword, Sequence([inner]))
    return outer


def plain(**elements: object) -> Dataset:
    header = Dataset()
    header.ImagePositionPatient = [1, 2, 3]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.PixelSpacing = [0.5, 0.6]
    for name, value in elements.items():
        setattr(header, name, value)
    return header


def enhanced() -> Dataset:
    header = Dataset()
    header.NumberOfFrames = 2
    shared_groups = group("PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared_groups.update(group("PixelMeasuresSequence", PixelSpacing=[1, 1], SliceThickness=4))
    shared_groups.update(
        group("PixelValueTransformationSequence", RescaleSlope=2, RescaleIntercept=-7)
    )
    header.SharedFunctionalGroupsSequence = Sequence([shared_groups])
    header.PerFrameFunctionalGroupsSequence = Sequence(
        [group("PlanePositionSequence", ImagePositionPatient=[0, 0, z]) for z in (5, 9)]
    )
    return header


class TestPlane:
    def test_a_plain_image_is_placed_by_its_header(self) -> None:
        found = frames.plane(plain(SliceThickness=2.5), 0)
        assert found == frames.Plane((1, 2, 3), (1, 0, 0, 0, 1, 0), (0.5, 0.6), 2.5)

    def test_each_frame_of_a_multi_frame_image_has_its_own_place(self) -> None:
        places = [frames.plane(enhanced(), index) for index in (0, 1)]
        assert [place.origin_mm for place in places if place] == [(0, 0, 5), (0, 0, 9)]
        assert places[0] is not None
        assert places[0].thickness_mm == 4

    def test_frames_without_a_place_of_their_own_have_none(self) -> None:
        assert frames.plane(plain(NumberOfFrames=3), 0) is None

    @pytest.mark.parametrize(
        "broken",
        [
            {"PixelSpacing": [0.5, 0]},
            {"PixelSpacing": [0.5, -0.5]},
            {"ImagePositionPatient": [1, 2]},
            {"ImageOrientationPatient": None},
        ],
    )
    def test_a_bad_header_places_nothing(self, broken: dict[str, object]) -> None:
        assert frames.plane(plain(**broken), 0) is None


class TestMessage:
    def test_frames_that_are_not_parallel_are_not_eligible(self) -> None:
        upright = frames.plane(plain(), 0)
        turned = frames.plane(plain(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), 0)
        with pytest.raises(NotEligible, match="not parallel"):
            frames.message([upright, turned])

    def test_frames_that_differ_in_pixel_spacing_are_not_eligible(self) -> None:
        with pytest.raises(NotEligible, match="Pixel Spacing"):
            frames.message([frames.plane(plain(), 0), frames.plane(plain(PixelSpacing=[1, 1]), 0)])

    def test_one_frame_without_a_place_leaves_all_without(self) -> None:
        assert frames.message([frames.plane(plain(), 0), None]) is None
        assert frames.message([]) is None


class TestRescale:
    def test_it_is_found_in_the_functional_groups(self) -> None:
        assert frames.rescale(enhanced(), 1) == (2.0, -7.0)

    def test_it_is_one_and_zero_where_there_is_none(self) -> None:
        assert frames.rescale(plain(Modality="MR"), 0) == (1.0, 0.0)

    def test_ct_without_it_is_not_eligible(self) -> None:
        with pytest.raises(NotEligible, match="Rescale"):
            frames.rescale(plain(Modality="CT"), 0)

    def test_a_slope_of_zero_is_not_eligible(self) -> None:
        with pytest.raises(NotEligible, match="Rescale"):
            frames.rescale(plain(RescaleSlope=0, RescaleIntercept=0), 0)

    def test_a_real_enhanced_ct_has_it(self) -> None:
        header = dcmread(shared("dicom/projection-and-other/5.dcm")[0], stop_before_pixels=True)
        assert frames.rescale(header, 0) == (1.0, -1024.0)
