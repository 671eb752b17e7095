"""One frame for the viewer is, value for value, the frame of the whole series; colour is RGB."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.pixels.utils import pixel_array

from tests.triage.files import bundled, image, write
from triage.errors import Broken, Held, NotEligible
from triage.preprocess.decoder import Decoder
from triage.settings import Decode

GREY = (
    "CT_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm",
    "MR_small_jpeg_ls_lossless.dcm", "JPGExtended.dcm", "rtdose.dcm", "image_dfl.dcm",
)  # fmt: skip
COLOUR = (
    "SC_rgb_rle_2frame.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_ybr_full_422_uncompressed.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
)  # fmt: skip


@pytest.mark.parametrize("name", GREY)
def test_a_grey_frame_has_the_values_that_the_whole_file_has(decoder: Decoder, name: str) -> None:
    path = bundled(name)
    whole = decoder.decode([path])
    for number in {1, len(whole.pixels)}:
        one = decoder.frame(path, number)
        assert one.samples == 1
        assert one.inverted == whole.inverted
        assert np.array_equal(one.pixels[0], whole.pixels[number - 1])


@pytest.mark.parametrize("name", COLOUR)
def test_a_colour_frame_is_red_green_and_blue_in_eight_bits(decoder: Decoder, name: str) -> None:
    path = bundled(name)
    header = dcmread(path, stop_before_pixels=True)
    count = int(header.get("NumberOfFrames") or 1)
    for number in {1, count}:
        one = decoder.frame(path, number)
        assert one.samples == 3
        shown = one.pixels[0].reshape(header.Rows, header.Columns, 3)
        assert np.array_equal(shown, pixel_array(path, index=number - 1))


def test_a_palette_is_looked_up(decoder: Decoder) -> None:
    one = decoder.frame(bundled("examples_palette.dcm"), 1)
    assert one.samples == 3
    shown = one.pixels[0].reshape(350, 800, 3)
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 10
    assert not np.array_equal(shown[..., 0], shown[..., 2])


def test_a_localiser_without_rescaling_is_shown_as_it_is_stored(
    decoder: Decoder, tmp_path: Path
) -> None:
    built = image("CT", np.arange(16, dtype=np.int16).reshape(4, 4))
    del built.RescaleSlope, built.RescaleIntercept
    one = decoder.frame(write(built, tmp_path / "localiser.dcm"), 1)
    assert one.pixels[0].tolist() == np.arange(16.0).reshape(4, 4).tolist()


def test_a_frame_that_is_not_there_is_told(decoder: Decoder) -> None:
    with pytest.raises(NotEligible, match="no such frame"):
        decoder.frame(bundled("CT_small.dcm"), 2)


def test_an_object_without_pixels_is_told(decoder: Decoder) -> None:
    with pytest.raises(NotEligible, match="holds no pixels"):
        decoder.frame(bundled("test-SR.dcm"), 1)


def test_pixels_that_are_cut_off_are_held(decoder: Decoder) -> None:
    with pytest.raises(Held, match="pixel-data"):
        decoder.frame(bundled("MR_truncated.dcm"), 1)


def test_a_claim_beyond_the_limit_is_broken() -> None:
    with Decoder(Decode(max_pixels=100)) as tight, pytest.raises(Broken, match="resource-limit"):
        tight.frame(bundled("CT_small.dcm"), 1)
