import torch

from models.pasted import pasted
from tests.models.chests import healthy


def test_every_image_has_a_twin_that_differs_and_stays_in_range() -> None:
    images = healthy(12, size_px=32)
    twins = pasted(images)
    assert twins.shape == images.shape
    assert ((twins - images).abs().amax((1, 2, 3)) > 0.02).all()
    assert twins.min() >= 0
    assert twins.max() <= 1


def test_a_seed_draws_the_same_twins_and_leaves_the_images_and_the_generator_alone() -> None:
    images = healthy(4)
    before, state = images.clone(), torch.get_rng_state()
    assert torch.equal(pasted(images), pasted(images))
    assert not torch.equal(pasted(images), pasted(images, seed=1))
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_one_kind_only_brightens_and_the_other_takes_from_the_image_itself() -> None:
    images = torch.rand(8, 1, 64, 64, generator=torch.Generator().manual_seed(0)) / 2
    twins = pasted(images)
    assert (twins[1::2] >= images[1::2]).all()
    for image, twin in zip(images[::2], twins[::2], strict=True):
        assert torch.isin(twin, image).all()
        share = (twin != image).float().mean().item()
        assert 0.01 < share < 0.1


def test_an_image_that_is_not_square_is_taken() -> None:
    assert pasted(torch.rand(2, 1, 16, 48)).shape == (2, 1, 16, 48)
