"""Lesions that were never there: strange regions put into healthy images, to learn from.

Each image gets one region of one of KINDS, and the share of every pixel that was changed:

``opacity``  a bright patch with soft, ragged edges, under which the texture fades;
``hollow``   the same, dark;
``foreign``  a region of another healthy image, matched in its mean (NSA, Schlueter et al. 2022,
             arXiv:2109.15222, with a shift of grey in place of Poisson's equation);
``blur``     a region whose texture is gone while its grey stays.

Regions are ellipses whose rim is moved by smooth noise (as in DRAEM, Zavrtanik et al. 2021,
arXiv:2108.07610), of 6 to 30 % of the side in each half axis. The hard-edged pieces of CutPaste
are left to ``models.pasted``, so that one kind of synthetic anomaly stays unseen in training.

Everything is drawn on the CPU, so that every device sees the same lesions.

Shapes: N images, C channels, H W rows and columns.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS: Final = ("opacity", "hollow", "foreign", "blur")
AXES: Final = (0.06, 0.3)
"""Half axes as a share of the side."""
MIDDLE: Final = (0.15, 0.85)
"""Where the middles lie."""
DEPTH: Final = (0.1, 0.5)
"""How much brighter or darker at most."""
RAGGED: Final = 0.5
"""How far noise moves the rim, as a share of the half axes."""
SOFT: Final = (3.0, 12.0)
"""Steepness of the rim: its share falls from 3/4 to 1/4 over about 2.2 / steepness half axes."""
BLURRED: Final = 9
"""Width of the blur, as a fraction of the side: one ninth."""


def paste(voxels_NCHW: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Give the images with a lesion each, in [0, 1], and the share of it in each pixel (N1HW)."""
    count = len(voxels_NCHW)
    share_NCHW = regions(voxels_NCHW, generator)
    kind_N = torch.randint(len(KINDS), (count,), generator=generator)
    depth_N = _between(DEPTH, count, generator)
    smooth_NCHW = _blurred(voxels_NCHW)
    depth_NCHW = depth_N[:, None, None, None].to(voxels_NCHW)
    faded_NCHW = 0.5 * (voxels_NCHW + smooth_NCHW)
    filled = torch.stack(
        [
            faded_NCHW + depth_NCHW,
            faded_NCHW - depth_NCHW,
            _foreign(voxels_NCHW, share_NCHW, generator),
            smooth_NCHW,
        ]
    )
    chosen_NCHW = filled[kind_N.to(voxels_NCHW.device), torch.arange(count)]
    return torch.lerp(voxels_NCHW, chosen_NCHW, share_NCHW).clamp(0, 1), share_NCHW


def regions(voxels_NCHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Give one soft, ragged ellipse an image: each pixel's share of it, N1HW in [0, 1]."""
    count, _, rows, columns = voxels_NCHW.shape
    row_N, column_N = (_between(MIDDLE, count, generator) for _ in range(2))
    high_N, wide_N = (_between(AXES, count, generator) for _ in range(2))
    steep_N = _between(SOFT, count, generator)
    down_NH1 = ((torch.arange(rows) + 0.5) / rows - row_N[:, None])[:, :, None]
    across_N1W = ((torch.arange(columns) + 0.5) / columns - column_N[:, None])[:, None, :]
    far_NHW = (
        (down_NH1 / high_N[:, None, None]).square() + (across_N1W / wide_N[:, None, None]).square()
    ).sqrt()
    coarse_NCHW = torch.randn(count, 1, 8, 8, generator=generator)
    noise_NCHW = F.interpolate(coarse_NCHW, (rows, columns), mode="bicubic", align_corners=False)
    rim_NHW = 1 + RAGGED * noise_NCHW[:, 0].clamp(-1.5, 1.5) - far_NHW
    share_NHW = torch.sigmoid(steep_N[:, None, None] * rim_NHW)
    return share_NHW[:, None].to(voxels_NCHW)


def _foreign(voxels_NCHW: Tensor, share_NCHW: Tensor, generator: torch.Generator | None) -> Tensor:
    """Give another image of the batch, moved, with the grey that the region had."""
    moved = [int(torch.randint(1, n // 4 + 2, (), generator=generator)) for n in (64, 64)]
    down, right = (
        step * side // 64 or 1 for step, side in zip(moved, voxels_NCHW.shape[-2:], strict=True)
    )
    other_NCHW = voxels_NCHW.roll((1, down, right), (0, 2, 3))
    size_N111 = share_NCHW.sum((2, 3), keepdim=True).clamp_min(1e-6)
    gap_NCHW = ((voxels_NCHW - other_NCHW) * share_NCHW).sum((2, 3), keepdim=True) / size_N111
    return other_NCHW + gap_NCHW


def _blurred(voxels_NCHW: Tensor) -> Tensor:
    width = voxels_NCHW.shape[-1] // BLURRED | 1
    pad = width // 2
    padded_NCHW = F.pad(voxels_NCHW, (pad, pad, pad, pad), mode="replicate")
    return F.avg_pool2d(padded_NCHW, width, stride=1)


def _between(ends: tuple[float, float], count: int, generator: torch.Generator | None) -> Tensor:
    low, high = ends
    return low + (high - low) * torch.rand(count, generator=generator)
