"""Decoding: every transfer syntax gives the same real units."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.pixels.processing import apply_modality_lut

from tests.triage.files import bundled, image, shared, write
from triage.errors import Broken, Held, NotEligible
from triage.preprocess.decoder import Decoder

ONE_SLICE = "dicom/transfer-syntaxes/ct-ge-one-slice-all-syntaxes/"
TWO_FRAMES = "dicom/transfer-syntaxes/ct-enhanced-2frame/"
# Largest error of a lossy file in HU; those with 8 or 12 bits also lose by their rescale slope.
LOSSY_HU = {".4.50": 65.0, ".4.51": 36.0, ".4.53": 36.0, ".4.55": 36.0, ".4.81": 1.0, ".4.91": 5.0}


def lossy_hu(name: str) -> float:
    return next((worst for uid, worst in LOSSY_HU.items() if f"{uid}.dcm" in name), 0.0)


class TestTransferSyntaxes:
    def test_one_slice_gives_the_same_hounsfield_units_in_all_sixteen(
        self, decoder: Decoder
    ) -> None:
        files = shared(ONE_SLICE + "*")
        plain = dcmread(next(path for path in files if path.name == "CTImage.dcm"))
        expected = plain.pixel_array.astype(np.float32) - 1024.0
        assert len(files) == 16
        for path in files:
            found = decoder.decode([path]).pixels[0]
            assert np.abs(found - expected).max() <= lossy_hu(path.name), path.name

    def test_two_frames_are_the_same_however_they_are_fragmented(self, decoder: Decoder) -> None:
        files = [path for path in shared(TWO_FRAMES + "*") if ".51." not in path.name]
        decoded = {path.name: decoder.decode([path]).pixels for path in files}
        exact = [pixels for name, pixels in decoded.items() if ".81." not in name]
        assert exact[0].shape == (2, 512, 512)
        assert len(exact) == 7
        assert all(np.array_equal(pixels, exact[0]) for pixels in exact)
        near = next(pixels for name, pixels in decoded.items() if ".81." in name)
        assert np.abs(near - exact[0]).max() <= 3.0

    @pytest.mark.parametrize(
        "name",
        [
            "MR_small_RLE.dcm",
            "MR_small_bigendian.dcm",
            "MR_small_implicit.dcm",
            "MR_small_jp2klossless.dcm",
            "MR_small_jpeg_ls_lossless.dcm",
            "MR_small_padded.dcm",
            "MR_small_expb.dcm",
        ],
    )
    def test_a_lossless_copy_decodes_to_the_original(self, decoder: Decoder, name: str) -> None:
        expected = decoder.decode([bundled("MR_small.dcm")]).pixels
        assert np.array_equal(decoder.decode([bundled(name)]).pixels, expected)
        assert np.array_equal(expected[0], dcmread(bundled("MR_small.dcm")).pixel_array)

    @pytest.mark.parametrize(
        ("name", "peak"),
        [
            ("image_dfl.dcm", 255.0),
            ("JPEG2000.dcm", 2000.0),
            ("JPEG-lossy.dcm", 4095.0),
            ("JPGExtended.dcm", 4095.0),
            ("JPEGLSNearLossless_08.dcm", 255.0),
            ("JPEGLSNearLossless_16.dcm", 65535.0),
            ("693_J2KI.dcm", 4095.0),
        ],
    )
    def test_it_decodes_what_pydicom_ships(self, decoder: Decoder, name: str, peak: float) -> None:
        header = dcmread(bundled(name), stop_before_pixels=True)
        found = decoder.decode([bundled(name)]).pixels
        assert found.shape == (1, header.Rows, header.Columns)
        assert found.std() > 1.0
        assert found.max() <= peak

    def test_an_unknown_transfer_syntax_is_not_eligible(
        self, decoder: Decoder, tmp_path: Path
    ) -> None:
        built = image("CT", np.zeros((4, 4), np.int16))
        path = write(built, tmp_path / "x.dcm")
        content = path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")
        path.write_bytes(content)
        with pytest.raises(NotEligible, match="transfer syntax"):
            decoder.decode([path])


class TestRealUnits:
    def test_a_ct_is_in_hounsfield_units(self, decoder: Decoder) -> None:
        header = dcmread(bundled("CT_small.dcm"))
        found = decoder.decode([bundled("CT_small.dcm")]).pixels[0]
        expected = apply_modality_lut(header.pixel_array, header)
        kept = header.pixel_array != header.PixelPaddingValue
        assert np.array_equal(found[kept], expected[kept].astype(np.float32))
        assert found[0, 0] == 175 - 1024

    def test_a_modality_lut_is_looked_up(self, decoder: Decoder) -> None:
        for path in (*shared("dicom/pydicom-data/mlut_18.dcm"), *shared("**/CR-ModalityS*.dcm")):
            header = dcmread(path)
            expected = apply_modality_lut(header.pixel_array, header)
            assert np.array_equal(decoder.decode([path]).pixels[0], expected.astype(np.float32))

    def test_padding_becomes_the_smallest_real_value(
        self, decoder: Decoder, tmp_path: Path
    ) -> None:
        pixels = np.array([[-2000, -50], [10, 300]], np.int16)
        path = write(image("CT", pixels, PixelPaddingValue=-2000), tmp_path / "x.dcm")
        assert decoder.decode([path]).pixels[0].tolist() == [[-50, -50], [10, 300]]

    def test_padding_of_a_monochrome1_image_becomes_its_darkest_value(
        self, decoder: Decoder, tmp_path: Path
    ) -> None:
        elements: dict[str, Any] = {"PhotometricInterpretation": "MONOCHROME1"}
        pixels = np.array([[0, 50], [10, 300]], np.uint16)
        path = write(image("DX", pixels, PixelPaddingValue=0, **elements), tmp_path / "x.dcm")
        decoded = decoder.decode([path])
        assert decoded.inverted
        assert decoded.pixels[0].tolist() == [[300, 50], [10, 300]]

    def test_a_padding_range_is_padding_too(self, decoder: Decoder, tmp_path: Path) -> None:
        pixels = np.array([[-2000, -1990], [10, 300]], np.int16)
        elements = {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}
        path = write(image("CT", pixels, **elements), tmp_path / "x.dcm")
        assert decoder.decode([path]).pixels[0].tolist() == [[10, 10], [10, 300]]

    @pytest.mark.parametrize("dtype", [np.uint16, np.int16])
    def test_bits_above_the_high_bit_do_not_count(
        self, decoder: Decoder, tmp_path: Path, dtype: type[np.generic]
    ) -> None:
        values = np.array([[0, 1], [77, 2047]]) - (1024 if dtype is np.int16 else 0)
        overlaid = ((values & 0x0FFF) | 0x5000).astype(np.uint16).view(dtype)
        path = write(image("MR", overlaid, BitsStored=12, HighBit=11), tmp_path / "x.dcm")
        assert decoder.decode([path]).pixels[0].tolist() == values.tolist()

    def test_the_same_image_with_dirty_bits_decodes_to_twelve_bits(self, decoder: Decoder) -> None:
        for path in shared("**/12bit*.dcm"):
            low, high = (-2048, 2047) if "Signed" in path.name else (0, 4095)
            found = decoder.decode([path]).pixels
            assert low <= found.min()
            assert found.max() <= high


class TestRefusals:
    @pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
    def test_a_ct_without_rescale_has_no_hounsfield_units(
        self, decoder: Decoder, tmp_path: Path, keyword: str
    ) -> None:
        built = image("CT", np.zeros((4, 4), np.int16), number=1, **{keyword: None})
        with pytest.raises(NotEligible, match="Rescale"):
            decoder.decode([write(built, tmp_path / "x.dcm")])

    def test_colour_is_not_eligible(self, decoder: Decoder) -> None:
        with pytest.raises(NotEligible, match="colour"):
            decoder.decode([bundled("examples_rgb_color.dcm")])

    def test_images_of_two_sizes_are_not_eligible(self, decoder: Decoder, tmp_path: Path) -> None:
        small = write(image("CT", np.zeros((4, 4), np.int16)), tmp_path / "a.dcm")
        large = write(image("CT", np.zeros((4, 6), np.int16)), tmp_path / "b.dcm")
        with pytest.raises(NotEligible, match="size"):
            decoder.decode([small, large])

    def test_missing_pixel_data_is_held(self, decoder: Decoder, tmp_path: Path) -> None:
        built = image("CT", np.zeros((4, 4), np.int16), PixelData=None)
        with pytest.raises(Held, match="pixel-data"):
            decoder.decode([write(built, tmp_path / "x.dcm")])

    def test_pixel_data_that_is_too_short_is_held(self, decoder: Decoder, tmp_path: Path) -> None:
        built = image("CT", np.zeros((4, 4), np.int16), Rows=400)
        with pytest.raises(Held, match="pixel-data"):
            decoder.decode([write(built, tmp_path / "x.dcm")])

    @pytest.mark.parametrize("keyword", ["Rows", "Columns"])
    def test_missing_sizes_are_a_header_fault(
        self, decoder: Decoder, tmp_path: Path, keyword: str
    ) -> None:
        built = image("CT", np.zeros((4, 4), np.int16), number=1, **{keyword: None})
        with pytest.raises(NotEligible, match="header"):
            decoder.decode([write(built, tmp_path / "x.dcm")])

    def test_hostile_files_end_in_a_coded_error_or_in_pixels(self, decoder: Decoder) -> None:
        codes: list[str] = []
        for path in shared("dicom-bad/**/*.dcm"):
            try:
                assert np.isfinite(decoder.decode([path]).pixels).all()
                codes.append("")
            except (NotEligible, Held, Broken) as why:
                codes.append(why.reason.code)
        assert set(codes) <= {"", "header", "pixel-data", "resource-limit"}
        assert 20 < codes.count("") < len(codes)
