"""How alike two images look at every pixel: structural similarity over several scales.

Source:  Wang, Simoncelli, Bovik 2003, Asilomar, doi 10.1109/ACSSC.2003.1292216: eq. 7 (contrast
         and structure at every scale, luminance at the coarsest) and its weights; Gaussian window
         of 11 pixels, sigma 1.5; C1 = 0.01^2, C2 = 0.03^2 for values in [0, 1].
Differs: a value for each pixel, not one for the image: each scale's map is enlarged to the
         image's size before the scales are multiplied. At a border the window is cut and
         weighed anew, so small images keep all their pixels. With fewer scales the first
         weights are taken and stretched to sum to 1. Where structure is inverted, 0.

Shapes: N images, K images compared with each, H W rows and columns, S pixels of a scale's side.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contract import BadParams

WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SIGMA_PX: Final = 1.5
REACH_PX: Final = 5
C1, C2 = 0.01**2, 0.03**2
LEAST_PX: Final = 4
"""Of the coarsest scale's side."""


def window(side_px: int) -> Tensor:
    """Give the matrix (S, S) whose row i weighs the pixels about i; its rows sum to 1.

    Blurring by matrices and not by a convolution keeps the full precision that a variance, the
    difference of two nearly equal numbers, needs on a GPU.
    """
    place = torch.arange(side_px, dtype=torch.float64)
    apart = place[:, None] - place
    weight = torch.exp(-((apart / SIGMA_PX) ** 2) / 2) * (apart.abs() <= REACH_PX)
    return (weight / weight.sum(1, keepdim=True)).float()


def alike(wanted_NKSS: Tensor, got_NKSS: Tensor, window_SS: Tensor, *, luminance: bool) -> Tensor:
    """Give the structural similarity of one scale, (N, K, S, S), at most 1.

    Contrast and structure, times the luminance's if asked. The first images may have K = 1.
    """

    def blurred(maps_NKSS: Tensor) -> Tensor:
        return window_SS @ maps_NKSS @ window_SS.T

    mean_a, mean_b = blurred(wanted_NKSS), blurred(got_NKSS)
    spread_a = blurred(wanted_NKSS.square()) - mean_a.square()
    spread_b = blurred(got_NKSS.square()) - mean_b.square()
    shared = blurred(wanted_NKSS * got_NKSS) - mean_a * mean_b
    found = (2 * shared + C2) / (spread_a + spread_b + C2)
    if luminance:
        found = found * (2 * mean_a * mean_b + C1) / (mean_a.square() + mean_b.square() + C1)
    return found


class MSSSIM(nn.Module):
    """Compares square images of one size over 1 to 5 scales, each half as large as the last.

    Raises:
        BadParams: the sides cannot be halved that often.
    """

    def __init__(self, size_px: int, scales: int) -> None:
        super().__init__()
        coarsest_px, left = divmod(size_px, 2 ** (scales - 1))
        if not 1 <= scales <= len(WEIGHTS) or left or coarsest_px < LEAST_PX:
            msg = (
                f"scales {scales} must be 1 to {len(WEIGHTS)}, and size_px {size_px} divisible by "
                f"2 once a scale after the first, down to {LEAST_PX} pixels at least"
            )
            raise BadParams(msg)
        self.size_px = size_px
        self.weights = tuple(one / sum(WEIGHTS[:scales]) for one in WEIGHTS[:scales])
        for scale in range(scales):  # no part of the weights: follows from the size alone
            self.register_buffer(f"window_{scale}", window(size_px // 2**scale), persistent=False)

    def forward(self, wanted_N1HW: Tensor, got_NKHW: Tensor) -> Tensor:
        """Give the similarity of each of K images with the wanted one, (N, K, H, W) in [0, 1]."""
        with torch.autocast(wanted_N1HW.device.type, enabled=False):
            return self._combined(wanted_N1HW.float(), got_NKHW.float())

    def _combined(self, wanted: Tensor, got: Tensor) -> Tensor:
        found = torch.ones_like(got)
        for scale, weight in enumerate(self.weights):
            if scale:
                wanted, got = F.avg_pool2d(wanted, 2), F.avg_pool2d(got, 2)
            last = scale == len(self.weights) - 1
            near = alike(wanted, got, self.get_buffer(f"window_{scale}"), luminance=last)
            found = found * self._enlarged(near.clamp(0, 1) ** weight)
        return found

    def _enlarged(self, maps_NKSS: Tensor) -> Tensor:
        size = [self.size_px, self.size_px]
        if list(maps_NKSS.shape[-2:]) == size:
            return maps_NKSS
        return F.interpolate(maps_NKSS, size, mode="bilinear", align_corners=False)
