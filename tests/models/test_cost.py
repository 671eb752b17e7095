import torch

import models
from models.cost import multiply_adds
from models.speed import WIDTHS, PlainAutoencoder


def test_the_plainest_autoencoder_s_are_those_of_its_shapes() -> None:
    channels, side, expected = (1, *WIDTHS), 64, 0
    for inside, outside in zip(channels, WIDTHS, strict=False):
        side //= 2
        expected += 2 * side**2 * 4 * 4 * inside * outside  # a halving, and its mirror
    assert multiply_adds(PlainAutoencoder(), torch.rand(1, 1, 64, 64)) == expected


def test_more_images_take_more_in_proportion_though_codes_of_a_memory_are_made_once() -> None:
    detector = models.load("mama-net")(size_px=16, widths=(8, 8, 8), slots=16).eval()
    one, four = (multiply_adds(detector, torch.rand(count, 1, 16, 16)) for count in (1, 4))
    assert four == 4 * one > 0


def test_what_learns_still_learns_afterwards() -> None:
    plain = PlainAutoencoder()
    multiply_adds(plain, torch.rand(1, 1, 16, 16))
    assert all(each.requires_grad for each in plain.parameters())
