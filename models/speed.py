"""How fast a detector scores, beside the plainest autoencoder, in one run on one machine.

Shapes: N images, C channels, H W rows and columns.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

import torch
from torch import Tensor, nn

REPEATS: Final = 7
WIDTHS: Final = (16, 32, 64, 64)


class PlainAutoencoder(nn.Module):
    """Four halvings, four doublings, nothing else: what any reconstruction costs at least."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, outside in zip((1, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(inside, outside, 4, stride=2, padding=1), nn.ReLU()]
        for inside, outside in zip(WIDTHS[::-1], (*WIDTHS[-2::-1], 1), strict=True):
            layers += [nn.ConvTranspose2d(inside, outside, 4, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Tensor:
        """Give the mean squared residual of each image; H and W are divisible by 16."""
        residual_NCHW: Tensor = self.layers(voxels_NCHW) - voxels_NCHW
        return residual_NCHW.square().mean((1, 2, 3))


@dataclass(frozen=True, slots=True)
class Speed:
    """Images a second, the median of turns taken one after the other.

    On the CPU a second is one of a core's own time, whatever else the machine does meanwhile.
    """

    detector: float
    plain: float
    """Of ``PlainAutoencoder`` on the same images in the same run."""


def speed(score: Callable[[Tensor], object], voxels_NCHW: Tensor) -> Speed:
    """Time a detector's ``score`` on one batch that lies on its device.

    On the CPU one thread works and its own time is counted: several threads that wait for each
    other on a busy machine would measure the machine. Images are scored independently, so two
    cores give twice that.
    """
    plain = PlainAutoencoder().to(voxels_NCHW.device).eval()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds: dict[str, list[float]] = {"detector": [], "plain": []}
        for turn in range(REPEATS + 1):
            for name, scored in (("detector", score), ("plain", plain.score)):
                took = _seconds(scored, voxels_NCHW)
                if turn:  # the first one warms up
                    seconds[name].append(took)
    finally:
        torch.set_num_threads(before)
    rates = {name: len(voxels_NCHW) / median(found) for name, found in seconds.items()}
    return Speed(detector=rates["detector"], plain=rates["plain"])


def _seconds(score: Callable[[Tensor], object], voxels_NCHW: Tensor) -> float:
    on_gpu = voxels_NCHW.device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    began = clock()
    score(voxels_NCHW)
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - began
