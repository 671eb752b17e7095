"""Another hand reads the same series: pixels, spacing, origin and direction must agree."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread

from tests.triage.files import shared
from triage.preprocess.decoder import Decoder
from triage.preprocess.geometry import LPS_TO_RAS


def in_order(paths: list[Path]) -> list[Path]:
    """Sort a series along its normal, as both readers want it."""

    def position_mm(path: Path) -> float:
        header = dcmread(path, stop_before_pixels=True)
        normal = np.cross(header.ImageOrientationPatient[:3], header.ImageOrientationPatient[3:])
        return float(np.dot(normal, header.ImagePositionPatient))

    return sorted(paths, key=position_mm)


@pytest.mark.parametrize("series", ["mr-pd-ge-20", "mr-t1-siemens-35"])
def test_a_series_is_what_simpleitk_reads(decoder: Decoder, series: str) -> None:
    paths = in_order(shared(f"dicom/series/{series}/*"))
    decoded = decoder.decode(paths)
    reader: Any = SimpleITK.ImageSeriesReader  # its types are not written down
    reader = reader()
    reader.SetFileNames([str(path) for path in paths])
    image = reader.Execute()
    theirs = SimpleITK.GetArrayFromImage(image).astype(np.float32)
    padding = dcmread(paths[0], stop_before_pixels=True).get("PixelPaddingValue")
    kept = np.ones_like(theirs, bool) if padding is None else theirs != padding
    assert kept.mean() > 0.5  # we turn padding into the darkest value, SimpleITK leaves it
    assert np.array_equal(decoded.pixels[kept], theirs[kept])

    assert decoded.geometry is not None
    lps = LPS_TO_RAS @ decoded.geometry.affine()
    axes = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    assert lps[:3, [2, 1, 0]] == pytest.approx(axes, abs=1e-4)
    assert lps[:3, 3] == pytest.approx(image.GetOrigin(), abs=1e-3)
