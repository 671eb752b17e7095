"""Scores anyone can compute without learning; a detector must beat them to be worth its weights.

Shapes: N images, C channels, H W rows and columns; K training images.
"""

from collections.abc import Callable, Mapping
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from models.metrics import auroc

NEIGHBOURS: Final = 5
THUMBNAIL_PX: Final = 32


def _mean_grey(voxels_NCHW: Tensor) -> Tensor:
    return voxels_NCHW.mean((1, 2, 3))


def _mean_gradient(voxels_NCHW: Tensor) -> Tensor:
    return voxels_NCHW.diff(dim=-1).abs().mean((1, 2, 3))


def _standard_deviation(voxels_NCHW: Tensor) -> Tensor:
    return voxels_NCHW.std((1, 2, 3))


SCORES: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "mean grey": _mean_grey,
    "mean horizontal gradient": _mean_gradient,
    "standard deviation": _standard_deviation,
}


def nearest(voxels_NCHW: Tensor, train_KCHW: Tensor) -> Tensor:
    """Give each image's mean distance to its nearest training images, as thumbnails."""
    thumbnails_NF, train_KF = (
        F.interpolate(images, (THUMBNAIL_PX, THUMBNAIL_PX), mode="area").flatten(1)
        for images in (voxels_NCHW, train_KCHW)
    )
    nearest_NK = torch.cdist(thumbnails_NF, train_KF).topk(NEIGHBOURS, largest=False)
    return nearest_NK.values.mean(1)


def baselines(
    healthy_NCHW: Tensor, abnormal_NCHW: Tensor, train_KCHW: Tensor | None
) -> dict[str, float]:
    """Give each trivial score's AUROC; the one-number scores in their better direction.

    Choosing the direction on the test set flatters them, which makes the comparison fair. With
    too few training images there is no nearest one.
    """
    found = {
        name: auroc(score(healthy_NCHW).numpy(), score(abnormal_NCHW).numpy())
        for name, score in SCORES.items()
    }
    found = {name: max(value, 1 - value) for name, value in found.items()}
    if train_KCHW is None or len(train_KCHW) < NEIGHBOURS:
        return found
    far = [nearest(images, train_KCHW).numpy() for images in (healthy_NCHW, abnormal_NCHW)]
    return found | {f"{NEIGHBOURS} nearest thumbnails": auroc(far[0], far[1])}
