"""Turning and resampling by SimpleITK: places in the patient stay where they are."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.array import Orientation, Spacing

from triage.errors import NotEligible
from triage.preprocess.reslice import affine_of, image_of, reslice

# Columns 0.7 mm to the left, rows 0.8 mm to the back and a little down, slices 2.5 mm up.
OBLIQUE = np.array(
    [[0, 0, -0.7, 40], [0.35, -0.792, 0, 50], [2.475, 0.112, 0, -60], [0, 0, 0, 1.0]]
)


def ramp(affine: npt.NDArray[np.float64], shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Give x + 2 y + 3 z of each voxel's place, mm: linear interpolation repeats it exactly."""
    index = np.indices(shape).reshape(3, -1)
    places = affine[:3, :3] @ index + affine[:3, 3:]
    return (np.array([1, 2, 3]) @ places).reshape(shape).astype(np.float32)


def test_an_image_lies_where_its_affine_says() -> None:
    voxels = ramp(OBLIQUE, (5, 6, 7))
    image = image_of(voxels, OBLIQUE)
    assert affine_of(image) == pytest.approx(OBLIQUE, abs=1e-9)
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), voxels)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 5.0), (0.5, 0.5, 1.0), (3.0, 3.0, 3.0)])
def test_every_voxel_keeps_the_value_of_its_place(spacing_mm: tuple[float, float, float]) -> None:
    image = reslice(image_of(ramp(OBLIQUE, (24, 40, 48)), OBLIQUE), "LPS", spacing_mm)
    affine, found = affine_of(image), np.asarray(SimpleITK.GetArrayFromImage(image))
    assert np.linalg.norm(affine[:3, :3], axis=0) == pytest.approx(spacing_mm[::-1])
    inside = (slice(2, -2),) * 3  # at the rim the edge goes on and the ramp does not
    assert found[inside] == pytest.approx(ramp(affine, found.shape)[inside], abs=1e-3)


def test_the_grid_covers_the_volume() -> None:
    image = reslice(image_of(ramp(OBLIQUE, (24, 40, 48)), OBLIQUE), None, (1.0, 1.0, 5.0))
    assert image.GetSize() == (round(48 * 0.7), round(40 * 0.8), round(24 * 2.5 / 5))


def test_the_last_short_block_is_averaged_too() -> None:
    voxels = np.zeros((23, 4, 4), np.float32)
    voxels[20:] = 8.0  # three slices beyond two whole blocks of ten
    affine = np.diag([0.5, -1.0, -1.0, 1.0])
    found = _found(reslice(image_of(voxels, affine), None, (1.0, 1.0, 5.0)))
    assert found[:2].max() == 0
    assert found[-1].min() > 4


def test_monai_comes_to_the_same_values() -> None:
    voxels = np.random.default_rng(0).normal(size=(12, 20, 24)).astype(np.float32)
    mine = reslice(image_of(voxels, OBLIQUE), "LPS", (0.6, 0.6, 2.0))
    turned: Any = Orientation(axcodes="SPL", labels=(("L", "R"), ("P", "A"), ("I", "S")))(
        MetaTensor(torch.from_numpy(voxels)[None], affine=torch.from_numpy(OBLIQUE))
    )
    theirs: Any = Spacing((2.0, 0.6, 0.6), mode="bilinear", padding_mode="border")(turned)
    there = image_of(theirs.as_tensor()[0].numpy().astype(np.float32), theirs.affine.numpy())
    moved = SimpleITK.GetArrayFromImage(SimpleITK.Resample(there, mine))
    inside = (slice(3, -3),) * 3
    # Their grid lies half a voxel off ours, so one of the two is interpolated twice.
    correlation = np.corrcoef(moved[inside].ravel(), _found(mine)[inside].ravel())[0, 1]
    assert correlation > 0.9


def _found(image: SimpleITK.Image) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = SimpleITK.GetArrayFromImage(image)
    return found


def test_a_spacing_that_would_fill_the_memory_is_refused_before_it_does() -> None:
    wrong = OBLIQUE @ np.diag([1000, 1000, 1000, 1.0])
    with pytest.raises(NotEligible, match="resource-limit"):
        reslice(image_of(np.zeros((4, 64, 64), np.float32), wrong), "LPS", (0.5, 0.5, 0.5))
