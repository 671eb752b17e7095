import math

import pytest
import torch
from torch import Tensor

from models.contract import BadParams
from models.ms_ssim import MSSSIM, WEIGHTS, alike, window
from tests.models.chests import healthy, with_opacity


def _naive(a: Tensor, b: Tensor, row: int, column: int) -> tuple[float, float]:
    """Give luminance and contrast-and-structure at one pixel, by loops over its window."""
    total = 0.0
    sums = dict.fromkeys(("a", "b", "aa", "bb", "ab"), 0.0)
    for y in range(max(row - 5, 0), min(row + 6, len(a))):
        for x in range(max(column - 5, 0), min(column + 6, len(a))):
            weight = math.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 1.5**2))
            one, two = float(a[y, x]), float(b[y, x])
            total += weight
            for name, value in zip(sums, (one, two, one**2, two**2, one * two), strict=True):
                sums[name] += weight * value
    mean = {name: value / total for name, value in sums.items()}
    c1, c2 = 0.01**2, 0.03**2
    light = (2 * mean["a"] * mean["b"] + c1) / (mean["a"] ** 2 + mean["b"] ** 2 + c1)
    shared = mean["ab"] - mean["a"] * mean["b"]
    spread = mean["aa"] - mean["a"] ** 2 + mean["bb"] - mean["b"] ** 2
    return light, (2 * shared + c2) / (spread + c2)


class TestOneScale:
    @pytest.mark.parametrize("place", [(0, 0), (0, 9), (7, 8), (15, 3)])
    def test_it_agrees_with_loops_over_the_window(self, place: tuple[int, int]) -> None:
        a, b = healthy(1), with_opacity(healthy(1, seed=1))
        light, structure = _naive(a[0, 0], b[0, 0], *place)
        for luminance, expected in ((False, structure), (True, light * structure)):
            found = alike(a, b, window(16), luminance=luminance)[0, 0]
            assert float(found[place]) == pytest.approx(expected, abs=1e-4)

    def test_every_row_of_the_window_weighs_one_in_all(self) -> None:
        assert torch.allclose(window(7).sum(1), torch.ones(7))


class TestAllScales:
    def test_equal_images_are_alike_everywhere(self) -> None:
        voxels = healthy(2, size_px=32)
        found = MSSSIM(32, 3)(voxels, voxels.expand(-1, 4, -1, -1))
        assert found.shape == (2, 4, 32, 32)
        assert torch.allclose(found, torch.ones_like(found), atol=1e-5)

    def test_an_opacity_lowers_it_where_it_is(self) -> None:
        voxels = healthy(1, size_px=64)
        found = MSSSIM(64, 3)(voxels, with_opacity(voxels))[0, 0]
        assert found[21:43, 8:24].mean() < 0.7
        assert torch.allclose(found[:, 60:], torch.ones(64, 4), atol=1e-4)

    def test_two_scales_are_the_weighed_product_of_structure_and_the_coarse_similarity(
        self,
    ) -> None:
        a, b = healthy(1), with_opacity(healthy(1, seed=1))
        halves = [torch.nn.functional.avg_pool2d(each, 2) for each in (a, b)]
        fine = alike(a, b, window(16), luminance=False).clamp(0, 1)
        coarse = alike(halves[0], halves[1], window(8), luminance=True).clamp(0, 1)
        first, second = (one / sum(WEIGHTS[:2]) for one in WEIGHTS[:2])
        larger = torch.nn.functional.interpolate(coarse**second, (16, 16), mode="bilinear")
        assert torch.allclose(MSSSIM(16, 2)(a, b), fine**first * larger, atol=1e-6)

    def test_it_lies_between_nothing_and_one_for_opposite_images(self) -> None:
        voxels = healthy(2)
        found = MSSSIM(16, 2)(voxels, 1 - voxels)
        assert (found >= 0).all()
        assert (found < 0.9).any()

    def test_it_keeps_full_precision_where_the_rest_runs_in_half(self) -> None:
        a, b = healthy(1), with_opacity(healthy(1))
        expected = MSSSIM(16, 2)(a, b)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(MSSSIM(16, 2)(a, b), expected)

    @pytest.mark.parametrize(("size_px", "scales"), [(16, 4), (18, 3), (64, 0), (512, 6)])
    def test_scales_that_do_not_fit_are_refused(self, size_px: int, scales: int) -> None:
        with pytest.raises(BadParams, match="scales"):
            MSSSIM(size_px, scales)
