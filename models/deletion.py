"""Does a map show what carried the score? Take that away, and look whether the score falls.

The strangest region of each image, by its own map, is replaced by the detector's reconstruction
of it. Beside it, as control, a region of the same shape and size elsewhere in the same image.

Source: Samek et al. 2017, arXiv:1509.06321 (region perturbation); here what is put in place is
what the detector itself holds for ordinary there.

Shapes: N images, C channels, H W rows and columns.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from models.contract import Coder, Detector

SHARE: Final = 0.05
"""Of the image's pixels, those highest on the map."""


class NoReconstruction(ValueError):
    """The detector draws no image back, or no map: there is nothing to delete with."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """Raw scores, float32, one an image."""

    before_N: Tensor
    after_N: Tensor
    """With the strangest region replaced."""
    elsewhere_N: Tensor
    """With the control region replaced."""


@torch.inference_mode()
def delete(detector: Detector, voxels_NCHW: Tensor, *, share: float = SHARE) -> Deletion:
    """Score images as they are, without their strangest region, and without another one.

    Raises:
        NoReconstruction: the detector cannot be asked so.
    """
    base = detector if isinstance(detector, Coder) else getattr(detector, "base", None)
    found = detector.score(voxels_NCHW)
    if not isinstance(base, Coder) or found.map_NHW is None:
        msg = "the detector draws no map or no image back, so there is nothing to put in place"
        raise NoReconstruction(msg)
    rebuilt_NCHW = base.decode(base.encode(voxels_NCHW))
    region_NHW = strangest_region(found.map_NHW, share)
    return Deletion(
        before_N=found.score_N,
        after_N=_without(detector, voxels_NCHW, rebuilt_NCHW, region_NHW),
        elsewhere_N=_without(detector, voxels_NCHW, rebuilt_NCHW, elsewhere(region_NHW)),
    )


def strangest_region(map_NHW: Tensor, share: float = SHARE) -> Tensor:
    """Give, as booleans NHW, the pixels highest on each map; ties at the edge included."""
    flat = map_NHW.flatten(1)
    count = max(1, round(share * flat.shape[1]))
    edge_N = flat.topk(count, dim=1).values[:, -1]
    return map_NHW >= edge_N[:, None, None]


def elsewhere(region_NHW: Tensor) -> Tensor:
    """Give the region moved by half the image in both directions, around the edges."""
    rows, columns = region_NHW.shape[1] // 2, region_NHW.shape[2] // 2
    return region_NHW.roll((rows, columns), dims=(1, 2)) & ~region_NHW


def _without(
    detector: Detector, voxels_NCHW: Tensor, rebuilt_NCHW: Tensor, region_NHW: Tensor
) -> Tensor:
    replaced = torch.where(region_NHW[:, None], rebuilt_NCHW.clamp(0, 1), voxels_NCHW)
    return detector.score(replaced).score_N
