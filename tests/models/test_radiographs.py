import numpy as np
import pytest

from models import radiographs
from models.radiographs import WEIGHTS, learn, paste_opacity, sample
from tests.models.chests import healthy


def test_a_seed_gives_the_same_pictures_and_more_of_them_do_not_change_the_first() -> None:
    three, one = sample(3, 3, 64), sample(3, 1, 64)
    assert three.shape == (3, 64, 64)
    assert np.array_equal(three[0], one[0])
    assert not np.array_equal(three[0], three[1])
    assert not np.array_equal(one, sample(4, 1, 64))


@pytest.mark.parametrize("size_px", [64, 512])
def test_pictures_fill_most_of_twelve_bits(size_px: int) -> None:
    pictures = sample(0, 2, size_px)
    assert pictures.dtype == np.uint16
    assert pictures.max() <= 4095
    assert np.ptp(pictures) > 3000


def test_the_lungs_are_dark_between_brighter_mediastinum_and_chest_wall() -> None:
    for picture in sample(1, 8, 64).astype(float):
        row = picture[26:34].mean(0)
        left, right = row[12:24].min(), row[40:52].min()
        assert max(left, right) < 0.75 * row[28:36].mean()


def test_an_opacity_only_brightens_and_only_one_lung() -> None:
    for seed, picture in enumerate(sample(2, 6, 128)):
        pasted = paste_opacity(picture, seed)
        gain = pasted.astype(int) - picture
        assert gain.min() >= 0
        assert pasted.max() <= 4095
        halves = sorted([gain[:, :64].sum(), gain[:, 64:].sum()])
        assert halves[1] > 5 * halves[0]
        assert gain.max() > 800
        assert np.array_equal(pasted, paste_opacity(picture, seed))


def test_components_rebuild_what_they_were_learnt_from() -> None:
    images = healthy(40, size_px=16)[:, 0]
    tensors = learn(images, 30)
    mean = tensors[radiographs.MEAN].astype(np.float64)
    components = tensors[radiographs.COMPONENTS] * tensors[radiographs.SCALES][:, None, None]
    axes, gap = components.reshape(30, -1), (images.numpy() - mean).reshape(40, -1)
    weights, *_ = np.linalg.lstsq(axes.T, gap.T, rcond=None)
    left = gap.T - axes.T @ weights
    assert np.square(left).mean() < 0.1 * np.square(gap).mean()
    assert np.square(weights).mean() == pytest.approx(1.0, abs=0.1)  # a deviation each


def test_the_weights_are_small() -> None:
    assert WEIGHTS.stat().st_size < 1_500_000
