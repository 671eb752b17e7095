import pytest
import torch

from models.pasting import KINDS, paste, regions
from tests.models.chests import healthy


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_lesion_changes_its_own_pixels_and_no_others() -> None:
    voxels = healthy(32, size_px=32)
    changed, share = paste(voxels, _seeded())
    gap = (changed - voxels).abs()
    assert (gap[share < 1e-3] < 1e-3).all()
    assert (gap * (share > 0.5)).flatten(1).amax(1).gt(0.02).all()


def test_pixels_stay_in_range_and_the_images_as_they_were() -> None:
    voxels = healthy(16)
    changed, share = paste(voxels, _seeded())
    for one in (changed, share):
        assert one.shape == voxels.shape
        assert ((one >= 0) & (one <= 1)).all()
    assert torch.equal(voxels, healthy(16))


def test_the_same_seed_draws_the_same_lesions_and_another_does_not() -> None:
    voxels = healthy(8)
    first, again, other = (paste(voxels, _seeded(seed))[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_all_kinds_occur_some_brighten_and_some_darken() -> None:
    voxels = healthy(200, size_px=32)
    changed, share = paste(voxels, _seeded())
    gap = ((changed - voxels) * share).sum((1, 2, 3)) / share.sum((1, 2, 3))
    assert len(KINDS) == 4
    assert (gap > 0.05).sum() > 20
    assert (gap < -0.05).sum() > 20
    assert (gap.abs() < 0.02).sum() > 20  # a foreign piece and a blur keep the grey


@pytest.mark.parametrize("size_px", [16, 64, 100])
def test_regions_are_neither_empty_nor_the_whole_image(size_px: int) -> None:
    share = regions(torch.zeros(100, 1, size_px, size_px), _seeded()).mean((1, 2, 3))
    assert share.min() > 0.0005
    assert share.max() < 0.6
    assert 0.05 < share.mean() < 0.25
