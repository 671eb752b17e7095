"""What whole images are compared by, where a detector has nothing better.

Shapes: N slices, C channels, H W rows and columns, F features.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

GRID: Final = 12
"""Places on a side at which an image is described."""


def coarse(voxels_NCHW: Tensor) -> Tensor:
    """Give grey and slope on a coarse grid, (N, 2 GRID^2); rotations and shifts change them."""
    grey_N1HW = voxels_NCHW.mean(1, keepdim=True)
    down = F.pad(grey_N1HW.diff(dim=2), (0, 0, 0, 1)).abs()
    across = F.pad(grey_N1HW.diff(dim=3), (0, 1, 0, 0)).abs()
    both = torch.cat([grey_N1HW, down + across], 1)
    return F.adaptive_avg_pool2d(both, GRID).flatten(1)
