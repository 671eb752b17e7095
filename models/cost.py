"""How many multiply-adds scoring takes, counted while it runs."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from models.contract import Detector
    from models.speed import PlainAutoencoder


@torch.inference_mode()
def multiply_adds(detector: "Detector | PlainAutoencoder", voxels_NCHW: Tensor) -> int:
    """Count those of convolutions and matrix products, in one scoring of all the images.

    What is done value by value (activations, norms, the XOR and popcount of hash codes) is none;
    what a first scoring makes and keeps, as a memory's codes, is not counted.
    """
    detector.score(voxels_NCHW[:1])
    learning = [each for each in detector.parameters() if each.requires_grad]
    for each in learning:  # the counter hangs hooks on gradients, and there are none
        each.requires_grad = False
    try:
        with FlopCounterMode(display=False) as counted:
            detector.score(voxels_NCHW)
    finally:
        for each in learning:
            each.requires_grad = True
    return int(counted.get_total_flops()) // 2
