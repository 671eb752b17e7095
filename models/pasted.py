"""Synthetic anomalies: what may choose between readings and settings, where no finding may.

Each healthy image gets a strange twin: a soft bright opacity, or a piece of itself put elsewhere
(CutPaste, Li et al. 2021, arXiv:2104.04015), in turns. Where, how large and how bright is drawn
from a seed, so every detector meets the same twins.

Shapes: N images, C channels, H W rows and columns.
"""

from typing import Final

import torch
from torch import Tensor

RADII: Final = (0.05, 0.12)
"""An opacity's standard deviation, as a share of the side."""
GAINS: Final = (0.15, 0.4)
"""How much brighter it is in its middle."""
SIDES: Final = (0.12, 0.3)
"""A piece's sides, as a share of the image's."""
MIDDLE: Final = (0.2, 0.8)
"""Where middles of both lie."""


def pasted(voxels_NCHW: Tensor, seed: int = 0) -> Tensor:
    """Give each image's twin, in order, in [0, 1]; the images are left as they are."""
    generator = torch.Generator().manual_seed(seed)
    twins = [
        (_opacity if place % 2 else _cut_paste)(image_CHW, torch.rand(6, generator=generator))
        for place, image_CHW in enumerate(voxels_NCHW.cpu())
    ]
    return torch.stack(twins).to(voxels_NCHW)


def _opacity(image_CHW: Tensor, drawn_6: Tensor) -> Tensor:
    rows, columns = image_CHW.shape[1:]
    row, column = (_between(each, MIDDLE) for each in drawn_6[:2])
    radius, gain = _between(drawn_6[2], RADII), _between(drawn_6[3], GAINS)
    down_H1 = ((torch.arange(rows) + 0.5) / rows - row)[:, None]
    across_W = (torch.arange(columns) + 0.5) / columns - column
    bump_HW = torch.exp(-(down_H1.square() + across_W.square()) / (2 * radius**2))
    return (image_CHW + gain * bump_HW).clamp(0, 1)


def _cut_paste(image_CHW: Tensor, drawn_6: Tensor) -> Tensor:
    high, wide = (
        max(1, round(_between(each, SIDES) * size))
        for each, size in zip(drawn_6[4:], image_CHW.shape[1:], strict=True)
    )
    (top, left), (to, beside) = (
        (_corner(down, image_CHW.shape[1], high), _corner(across, image_CHW.shape[2], wide))
        for down, across in (drawn_6[:2], drawn_6[2:4])
    )
    twin_CHW = image_CHW.clone()
    twin_CHW[:, to : to + high, beside : beside + wide] = image_CHW[
        :, top : top + high, left : left + wide
    ]
    return twin_CHW


def _corner(share: Tensor, size: int, length: int) -> int:
    middle = _between(share, MIDDLE) * size
    return min(max(round(middle - length / 2), 0), size - length)


def _between(share: Tensor, ends: tuple[float, float]) -> float:
    low, high = ends
    return low + (high - low) * float(share)
