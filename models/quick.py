"""Scoring quicker than a detector does by itself: in half precision, and compiled.

Both are for a GPU. What comes out is close to what was calibrated, not the same: measure how
close before serving it (``python -m tests.bench.masks`` does for MemMC-MAE).

Shapes: N images, C channels, H W rows and columns.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from models.contract import Anomaly, Detector


def quick(
    detector: Detector, *, half: bool = False, compiled: bool = False, backend: str = "inductor"
) -> Callable[[Tensor], Anomaly]:
    """Give a ``score`` for batches on the detector's device.

    ``half`` multiplies in bfloat16; scores and maps are given as float32, but are as exact as
    the step before them, which is float32 too in MemMC-MAE and MAMA Net alone. ``compiled`` fuses
    what ``backend`` can, once a shape of batch, which takes a while at its first one.
    """
    score: Callable[[Tensor], Anomaly] = detector.score
    if compiled:
        # Compilers cannot take in a function that turns inference mode on by itself.
        bare = inspect.unwrap(type(detector).score)
        score = torch.compile(partial(bare, detector), backend=backend)

    def scored(voxels_NCHW: Tensor) -> Anomaly:
        kind = voxels_NCHW.device.type
        with torch.no_grad(), torch.autocast(kind, dtype=torch.bfloat16, enabled=half):
            found: Anomaly = score(voxels_NCHW)
        return replace(
            found,
            score_N=found.score_N.float(),
            map_NHW=None if found.map_NHW is None else found.map_NHW.float(),
            others={name: each.float() for name, each in found.others.items()},
        )

    return scored
