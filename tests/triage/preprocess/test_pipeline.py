"""From a series to a tensor; what is trained is what is served."""

from itertools import permutations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.triage.files import image, shared, stack, study_ref, write
from triage import settings
from triage.assemble import read
from triage.errors import NotEligible
from triage.preprocess.decoder import Decoder
from triage.preprocess.pipeline import prepare_image, preprocess
from triage.settings import Recipe
from triage.study import Series

Grey = npt.NDArray[np.uint8]


def recipe(**changes: object) -> Recipe:
    fields: dict[str, object] = {"name": "test", "kind": "projection", "size_px": (64, 64)}
    return Recipe.model_validate({**fields, **changes})


def chest(rows: int = 300, columns: int = 240, seed: int = 0) -> Grey:
    """Give a smooth grey picture with bright and dark parts."""
    y, x = np.mgrid[0:rows, 0:columns] / rows
    waves = np.sin(7 * x + seed) * np.cos(5 * y) + 0.5 * np.sin(40 * x * y)
    grey: Grey = ((waves - waves.min()) / np.ptp(waves) * 255).astype(np.uint8)
    return grey


def series(*paths: Path) -> Series:
    (only,) = read(study_ref(paths)).series
    return only


class TestWhatIsTrainedIsWhatIsServed:
    @pytest.mark.parametrize("window", ["percentiles", "voi", "fixed"])
    @pytest.mark.parametrize("crop", ["none", "square", "foreground"])
    def test_an_image_wrapped_as_dx_gives_the_very_same_tensor(
        self, decoder: Decoder, tmp_path: Path, window: str, crop: str
    ) -> None:
        pixels = chest()
        full_range = {"WindowCenter": 128, "WindowWidth": 256}
        path = write(image("DX", pixels, **full_range), tmp_path / "x.dcm")
        one = recipe(window=window, crop=crop, window_range=(10, 200))
        served = preprocess(series(path), one, decoder)
        trained = prepare_image(pixels, one)
        assert torch.equal(served.voxels_NCHW, trained.voxels_NCHW)
        assert served.source_N == trained.source_N == (0,)

    def test_the_callers_array_is_left_alone(self) -> None:
        pixels = chest().astype(np.float32)
        kept = pixels.copy()
        prepare_image(pixels, recipe())
        assert np.array_equal(pixels, kept)

    def test_twelve_bits_differ_from_eight_by_rounding_only(
        self, decoder: Decoder, tmp_path: Path
    ) -> None:
        deep = chest().astype(np.uint16) * 16
        path = write(image("DX", deep, BitsStored=12, HighBit=11), tmp_path / "x.dcm")
        served = preprocess(series(path), recipe(), decoder)
        assert torch.allclose(served.voxels_NCHW, prepare_image(chest(), recipe()).voxels_NCHW)

    def test_an_even_image_is_not_eligible(self) -> None:
        with pytest.raises(NotEligible, match="no contrast"):
            prepare_image(np.full((50, 50), 9, np.uint8), recipe())


class TestProjection:
    def test_a_radiograph_and_its_monochrome1_twin_look_the_same(
        self, decoder: Decoder, tmp_path: Path
    ) -> None:
        plain = write(image("DX", chest()), tmp_path / "a.dcm")
        inverse = image("DX", 255 - chest(), PhotometricInterpretation="MONOCHROME1")
        twin = write(inverse, tmp_path / "b.dcm")
        one = preprocess(series(plain), recipe(), decoder).voxels_NCHW
        other = preprocess(series(twin), recipe(), decoder).voxels_NCHW
        assert torch.allclose(one, other, atol=1e-6)

    def test_the_two_photometric_readings_of_one_radiograph_are_opposites(
        self, decoder: Decoder
    ) -> None:
        folder = "dicom/projection-and-other/"
        (fake,) = shared(folder + "Fake_MONOHR1.dcm")
        (plain,) = shared(folder + "1.2.276.0.7230010.3.1.4.8323329.6904.*.dcm")
        one = preprocess(series(plain), recipe(), decoder).voxels_NCHW
        other = preprocess(series(fake), recipe(), decoder).voxels_NCHW
        assert torch.allclose(one, 1 - other, atol=1e-5)

    @pytest.mark.parametrize("name", ["Fake_MONOHR1.dcm", "dx_image.dcm", "CR-Modality*.dcm"])
    @pytest.mark.parametrize("window", ["percentiles", "voi"])
    def test_real_radiographs_use_the_whole_range(
        self, decoder: Decoder, name: str, window: str
    ) -> None:
        (path,) = shared(f"dicom/projection-and-other/{name}")
        found = preprocess(series(path), recipe(window=window), decoder).voxels_NCHW
        assert found.shape == (1, 1, 64, 64)
        assert 0 <= found.min() < 0.2
        assert 0.5 < found.max() <= 1

    def test_each_image_of_the_series_is_a_slice_whatever_its_size(
        self, decoder: Decoder, tmp_path: Path
    ) -> None:
        paths = [
            write(image("DX", chest(rows, 200, seed=rows), number=number), tmp_path / f"{number}")
            for number, rows in enumerate((100, 250, 300), start=1)
        ]
        found = preprocess(series(*paths), recipe(), decoder)
        assert found.voxels_NCHW.shape == (3, 1, 64, 64)
        assert found.source_N == (0, 1, 2)
        alone = prepare_image(chest(250, 200, seed=250), recipe())
        assert torch.equal(found.voxels_NCHW[1:2], alone.voxels_NCHW)

    def test_several_frames_are_not_a_radiograph(self, decoder: Decoder, tmp_path: Path) -> None:
        frames = np.stack([chest(), chest(seed=1)])
        path = write(image("DX", frames, NumberOfFrames=2), tmp_path / "x.dcm")
        with pytest.raises(NotEligible, match="several frames"):
            preprocess(series(path), recipe(), decoder)


class TestVolume:
    def test_every_permutation_of_the_files_gives_the_same_bytes(
        self, decoder: Decoder, tmp_path: Path
    ) -> None:
        random = np.random.default_rng(0)
        paths = stack(tmp_path, random.integers(0, 100, (4, 20, 24), dtype=np.int16))
        one = recipe(kind="volume", orientation="LPS", spacing_mm=(1, 1, 3), crop="square")
        volumes = [
            preprocess(series(*order), one, decoder) for order in list(permutations(paths))[::5]
        ]
        assert len({volume.voxels_NCHW.numpy().tobytes() for volume in volumes}) == 1
        assert len({(volume.source_N, volume.spacing_mm) for volume in volumes}) == 1

    def test_its_sources_point_at_the_images_of_the_series(
        self, decoder: Decoder, tmp_path: Path
    ) -> None:
        volume = np.arange(30, dtype=np.int16)[:, None, None] + np.zeros((30, 16, 16), np.int16)
        members = series(*stack(tmp_path, volume, gap_mm=1.0))
        one = recipe(
            kind="volume",
            window="fixed",
            window_range=(0, 29),
            orientation="LPS",
            spacing_mm=(1, 1, 5),
        )
        found = preprocess(members, one, decoder)
        level_N = found.voxels_NCHW.mean(dim=(1, 2, 3)) * 29
        assert level_N.tolist() == pytest.approx(list(found.source_N), abs=1.01)

    def test_a_real_multi_frame_ct_is_one_source_image(self, decoder: Decoder) -> None:
        (path,) = shared("dicom/projection-and-other/5.dcm")
        one = recipe(kind="volume", window="percentiles", orientation="LPS")
        found = preprocess(series(path), one, decoder)
        assert found.voxels_NCHW.shape == (2, 1, 64, 64)
        assert found.source_N == (0, 0)

    def test_the_packaged_recipes_are_of_both_kinds(self) -> None:
        kinds = {one.kind for one in settings.load(config=settings.PACKAGED).recipes.values()}
        assert kinds == {"projection", "volume"}
