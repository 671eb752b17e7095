import pytest
import torch

from models.baselines import baselines, nearest
from tests.models.chests import healthy, with_opacity


def test_a_training_picture_repeated_five_times_is_at_no_distance() -> None:
    picture = healthy(1, size_px=64)
    train = torch.cat([picture.expand(5, -1, -1, -1), healthy(5, seed=1, size_px=64)])
    assert float(nearest(picture, train)) == pytest.approx(0.0, abs=1e-3)
    assert float(nearest(with_opacity(picture), train)) > 1


def test_pictures_that_are_only_darker_are_found_by_grey_in_its_better_direction() -> None:
    well, train = healthy(20, size_px=64), healthy(40, seed=1, size_px=64)
    found = baselines(well, 0.5 * healthy(20, seed=2, size_px=64), train)
    assert found["mean grey"] == 1.0
    assert found["standard deviation"] == 1.0


def test_pictures_alike_are_not_told_apart() -> None:
    well, train = healthy(100, size_px=64), healthy(40, seed=1, size_px=64)
    for value in baselines(well, healthy(100, seed=2, size_px=64), train).values():
        assert value == pytest.approx(0.5, abs=0.12)
