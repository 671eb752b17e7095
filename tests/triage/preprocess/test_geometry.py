"""Where frames lie in MONAI's space."""

import numpy as np
import pytest

from triage.preprocess.geometry import Geometry

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def geometry(*origins: tuple[float, float, float], orientation: tuple[float, ...]) -> Geometry:
    cosines = (
        *(orientation[0], orientation[1], orientation[2]),
        *(orientation[3], orientation[4], orientation[5]),
    )
    return Geometry(origins, cosines, spacing_mm=(0.5, 0.7), thickness_mm=3.0)


def test_an_axial_stack_counts_upwards_and_keeps_rows_and_columns_apart() -> None:
    axial = geometry((1, 2, 30), (1, 2, 10), (1, 2, 20), orientation=(1, 0, 0, 0, 1, 0))
    assert axial.positions_mm().tolist() == [30, 10, 20]
    # Index (slice, row, column) = (2, 10, 100) in LPS is x 1+70, y 2+5, z 10+20.
    place = axial.affine() @ [2, 10, 100, 1]
    assert place == pytest.approx([-71, -7, 30, 1])


def test_a_sagittal_stack_runs_along_x() -> None:
    sagittal = geometry((-4, 0, 0), (4, 0, 0), orientation=SAGITTAL)
    assert sagittal.positions_mm().tolist() == [4, -4]
    place = sagittal.affine() @ [1, 2, 10, 1]
    assert place == pytest.approx([4, -7, -1, 1])


def test_a_single_slice_is_as_thick_as_its_header_says() -> None:
    one = geometry((0, 0, 0), orientation=(1, 0, 0, 0, 1, 0))
    assert np.linalg.norm(one.affine()[:3, 0]) == pytest.approx(3.0)
