"""Volumes: orientation, spacing, slices and where they came from."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.triage.files import shared, stack
from triage import settings
from triage.errors import NotEligible
from triage.preprocess.decoder import Decoded, Decoder
from triage.preprocess.geometry import Geometry
from triage.preprocess.volume import prepare_volume
from triage.settings import Recipe

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def recipe(**changes: object) -> Recipe:
    fields: dict[str, object] = {
        "name": "test",
        "kind": "volume",
        "window": "fixed",
        "window_range": (0, 100),
        "orientation": "LPS",
        "size_px": (32, 32),
    }
    return Recipe.model_validate({**fields, **changes})


def packaged(name: str) -> Recipe:
    return settings.load(config=settings.PACKAGED).recipes[name]


def decoded(
    pixels: npt.NDArray[np.float32],
    *,
    gap_mm: float = 1.0,
    spacing_mm: tuple[float, float] = (1.0, 1.0),
    cosines: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
) -> Decoded:
    normal = np.cross(cosines[:3], cosines[3:])
    places = [normal * gap_mm * index for index in range(len(pixels))]
    origins = tuple((float(x), float(y), float(z)) for x, y, z in places)
    geometry = Geometry(origins, cosines, spacing_mm, gap_mm)
    return Decoded(pixels.copy(), geometry, inverted=False, voi_applied=False)


def marked(slices: int = 20, rows: int = 32, columns: int = 32) -> npt.NDArray[np.float32]:
    """Give a volume whose every axis has two unlike ends."""
    pixels = np.zeros((slices, rows, columns), np.float32)
    pixels += np.linspace(0, 60, slices, dtype=np.float32)[:, None, None]
    pixels += np.linspace(0, 30, rows, dtype=np.float32)[None, :, None]
    pixels += np.linspace(0, 10, columns, dtype=np.float32)[None, None, :]
    return pixels


class TestOrientation:
    def test_an_axial_series_keeps_its_rows_and_columns(self) -> None:
        found = prepare_volume(decoded(marked()), recipe())
        assert found.voxels_NCHW.shape == (20, 1, 32, 32)
        assert found.voxels_NCHW[:, 0].numpy() == pytest.approx(marked() / 100, abs=1e-6)
        assert found.source_N == tuple(range(20))
        assert found.spacing_mm == pytest.approx((1.0, 1.0, 1.0))

    def test_rows_that_run_to_the_right_are_turned_to_the_left(self) -> None:
        mirrored = decoded(marked()[:, :, ::-1], cosines=(-1, 0, 0, 0, 1, 0))
        # Right-handed: turning the rows turns the normal, so the slices count downwards.
        found = prepare_volume(mirrored, recipe())
        assert found.voxels_NCHW[:, 0].numpy() == pytest.approx(marked()[::-1] / 100, abs=1e-6)
        assert found.source_N == tuple(reversed(range(20)))

    def test_a_sagittal_series_is_cut_into_axial_slices(self) -> None:
        # Sagittal: slices run left (normal of y by -z is -x), rows run down, columns back.
        sagittal = marked().transpose(2, 0, 1)[::-1, ::-1, :]
        found = prepare_volume(decoded(sagittal, cosines=SAGITTAL), recipe(size_px=(32, 32)))
        assert found.voxels_NCHW[:, 0].numpy() == pytest.approx(marked() / 100, abs=1e-6)
        assert set(found.source_N) <= {15, 16}

    def test_the_order_of_the_files_does_not_matter(self, decoder: Decoder, tmp_path: Path) -> None:
        paths = stack(tmp_path, marked().astype(np.int16))
        upwards = prepare_volume(decoder.decode(paths), recipe())
        downwards = prepare_volume(decoder.decode(paths[::-1]), recipe())
        assert torch.equal(upwards.voxels_NCHW, downwards.voxels_NCHW)
        assert downwards.source_N == tuple(reversed(upwards.source_N))

    def test_without_orientation_the_slices_are_the_sources(self) -> None:
        sagittal = decoded(marked(), cosines=SAGITTAL)
        found = prepare_volume(sagittal, recipe(orientation=None))
        assert found.source_N == tuple(range(20))


class TestSpacing:
    def test_thin_slices_become_the_mean_of_a_thick_one(self) -> None:
        noise = np.random.default_rng(0).normal(50, 10, (40, 32, 32)).astype(np.float32)
        found = prepare_volume(decoded(noise, gap_mm=0.5), recipe(spacing_mm=(1, 1, 5)))
        assert found.voxels_NCHW.shape == (4, 1, 32, 32)
        assert found.spacing_mm == pytest.approx((1, 1, 5))
        assert found.voxels_NCHW.std() == pytest.approx(0.1 / 10**0.5, rel=0.1)
        assert found.source_N == pytest.approx((5, 15, 25, 35), abs=1)

    def test_thick_slices_are_interpolated(self) -> None:
        found = prepare_volume(decoded(marked(), gap_mm=2.0), recipe(spacing_mm=(1, 1, 1)))
        assert found.voxels_NCHW.shape[0] == pytest.approx(40, abs=1)
        assert found.source_N[0] == 0
        assert found.source_N[-1] == 19
        assert list(found.source_N) == sorted(found.source_N)

    def test_pixels_that_are_not_square_become_square(self) -> None:
        oblong = decoded(marked(columns=64), spacing_mm=(1.0, 0.5))
        found = prepare_volume(oblong, recipe(spacing_mm=(1, 1, 1)))
        assert found.spacing_mm == pytest.approx((1, 1, 1), rel=0.02)

    def test_too_many_slices_are_not_eligible(self) -> None:
        with pytest.raises(NotEligible, match="resource-limit: more than 10 slices"):
            prepare_volume(decoded(marked()), recipe(max_slices=10))

    def test_a_series_without_geometry_is_not_eligible(self) -> None:
        nowhere = Decoded(marked(), None, inverted=False, voi_applied=False)
        with pytest.raises(NotEligible, match="header"):
            prepare_volume(nowhere, recipe())


class TestCrop:
    def test_the_body_fills_the_square(self) -> None:
        pixels = np.zeros((12, 64, 64), np.float32)
        pixels[:, 20:36, 10:42] = 80
        found = prepare_volume(decoded(pixels), recipe(crop="foreground"))
        assert found.voxels_NCHW.shape == (12, 1, 32, 32)
        assert (found.voxels_NCHW[0, 0] > 0).sum() == 16 * 32
        assert found.spacing_mm == pytest.approx((1, 1, 1))


@pytest.mark.parametrize(
    ("pattern", "name", "slices", "extent_mm"),
    [
        ("ct-head-ge-28", "head-ct", 30, 150),
        ("ct-head-tiny-93", "head-ct", 28, 140),
        ("mr-pd-ge-20", "brain-mr", 28, 135),
        ("mr-t1-siemens-35", "brain-mr", 40, 200),
    ],
)
class TestRealSeries:
    def test_its_recipe_gives_axial_slices_of_five_millimetres(
        self, decoder: Decoder, pattern: str, name: str, slices: int, extent_mm: float
    ) -> None:
        paths = shared(f"dicom/series/{pattern}/*")
        found = prepare_volume(decoder.decode(paths), packaged(name))
        assert found.voxels_NCHW.shape == (slices, 1, 128, 128)
        assert found.voxels_NCHW.dtype == torch.float32
        assert found.voxels_NCHW.min() >= 0
        assert found.voxels_NCHW.max() <= 1
        assert found.spacing_mm is not None
        assert found.spacing_mm[2] == pytest.approx(5.0)
        assert (slices - 1) * found.spacing_mm[2] == pytest.approx(extent_mm, abs=10)
        assert set(found.source_N) <= set(range(len(paths)))

    def test_flipping_the_order_of_its_files_changes_no_voxel(
        self, decoder: Decoder, pattern: str, name: str, slices: int, extent_mm: float
    ) -> None:
        paths = shared(f"dicom/series/{pattern}/*")
        upwards = prepare_volume(decoder.decode(paths), packaged(name))
        downwards = prepare_volume(decoder.decode(paths[::-1]), packaged(name))
        assert torch.equal(upwards.voxels_NCHW, downwards.voxels_NCHW)


def test_heads_of_two_modalities_stand_upright(decoder: Decoder) -> None:
    """The nose is in front (small row numbers) and the table or neck is behind or below."""
    ct = prepare_volume(decoder.decode(shared("dicom/series/ct-head-ge-28/*")), packaged("head-ct"))
    mr = prepare_volume(
        decoder.decode(shared("dicom/series/mr-t1-siemens-35/*")), packaged("brain-mr")
    )
    for volume in (ct, mr):
        body_N = (volume.voxels_NCHW[:, 0] > 0.1).flatten(1).sum(1)
        # The crown (last slices) is smaller than the middle of the head.
        assert body_N[-2] < body_N[len(body_N) // 2]
        middle = (volume.voxels_NCHW[len(body_N) // 2, 0] > 0.1).float()
        assert middle.sum(1)[2:30].mean() < middle.sum(1)[50:80].mean()
