"""Display values, against pydicom's own windowing and against the standard's formulas."""

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.pixels.processing import apply_voi_lut

from tests.triage.files import shared
from triage.preprocess import voi

RAMP = np.linspace(-500, 500, 1001, dtype=np.float32)


def header(**elements: object) -> Dataset:
    built = Dataset()
    built.PhotometricInterpretation = "MONOCHROME2"
    built.BitsStored, built.PixelRepresentation = 16, 1
    for name, value in elements.items():
        setattr(built, name, value)
    return built


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(40, 80), (-600, 1500), (0.5, 30)])
def test_a_window_is_pydicoms_scaled_to_one(function: str, centre: float, width: float) -> None:
    stated = header(WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
    values = RAMP.copy()
    assert voi.apply(values, stated)
    expected = apply_voi_lut(RAMP.astype(np.int16), stated)
    assert values == pytest.approx((expected + 32768) / 65535, abs=2e-4)


def test_the_linear_window_counts_whole_levels() -> None:
    """PS3.3 C.11.2.1.2: centre 2048 and width 4096 map 0 to the least and 4095 to the most."""
    values = np.array([0, 2047.5, 4095], np.float32)
    voi.apply(values, header(WindowCenter=2048, WindowWidth=4096))
    assert values.tolist() == [0.0, 0.5, 1.0]


def test_a_width_of_one_is_a_step() -> None:
    values = np.array([9, 10, 11], np.float32)
    voi.apply(values, header(WindowCenter=10.5, WindowWidth=1))
    assert values[[0, 2]].tolist() == [0.0, 1.0]


def test_the_first_of_several_windows_is_used() -> None:
    values, single = RAMP.copy(), RAMP.copy()
    voi.apply(values, header(WindowCenter=[40, -600], WindowWidth=[80, 1500]))
    voi.apply(single, header(WindowCenter=40, WindowWidth=80))
    assert np.array_equal(values, single)


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"WindowCenter": 1},
        {"WindowCenter": 1, "WindowWidth": 0},
        {"WindowCenter": "", "WindowWidth": ""},
    ],
)
def test_without_a_usable_window_nothing_changes(elements: dict[str, object]) -> None:
    values = RAMP.copy()
    assert not voi.apply(values, header(**elements))
    assert np.array_equal(values, RAMP)


def test_a_lut_is_looked_up_and_scaled() -> None:
    image = dcmread(shared("dicom/pydicom-data/vlut_04.dcm")[0])
    values = image.pixel_array.astype(np.float32)
    assert voi.apply(values, image)
    bits = image.VOILUTSequence[0].LUTDescriptor[2]
    expected = apply_voi_lut(image.pixel_array, image) / (2**bits - 1)
    assert values == pytest.approx(expected.astype(np.float32))
