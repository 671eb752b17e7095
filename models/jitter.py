"""Small changes of position, size and tone that a healthy image stays healthy under."""

import torch
import torch.nn.functional as F
from torch import Tensor

TURN_RAD, ZOOM, SHIFT, TONE = 0.07, 0.06, 0.06, 0.2
"""Largest turn, relative zoom, shift as a share of the width, and log of the gamma."""


def jitter(voxels_NCHW: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Turn, zoom, shift and change the gamma of each image by its own random amount.

    Images are never mirrored: the heart lies on one side. Values stay in [0, 1].
    """
    count = len(voxels_NCHW)

    def draw(columns: int, largest: float) -> Tensor:
        even = torch.rand(count, columns, generator=generator) * 2 - 1
        return (even * largest * strength).to(voxels_NCHW)

    turn, zoom = draw(1, TURN_RAD)[:, 0], 1 + draw(1, ZOOM)[:, 0]
    affine = voxels_NCHW.new_zeros(count, 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = turn.cos() * zoom
    affine[:, 1, 0] = turn.sin() * zoom
    affine[:, 0, 1] = -affine[:, 1, 0]
    affine[:, :, 2] = draw(2, 2 * SHIFT)  # the grid is two wide
    grid = F.affine_grid(affine, list(voxels_NCHW.shape), align_corners=False)
    moved = F.grid_sample(voxels_NCHW, grid, padding_mode="border", align_corners=False)
    return moved.clamp(0, 1) ** draw(1, TONE).exp()[:, :, None, None]
