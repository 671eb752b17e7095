"""Measure MemMC-MAE's masks: ``python -m tests.bench.masks [--full] [--compile]``.

Times the scoring of one image and of a batch with all masks as one batch, against one mask after
the other, on one CPU thread or on a GPU where there is one, there also in bf16; the ratio
is of one after the other. ``--full`` measures the paper's size, ViT-B, ``--compile`` what
torch.compile makes of it. Also prints weights, multiply-adds of an image, and a GPU's peak memory.
"""

import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.memmc_mae import VIT_B, MemMCMAE

BATCH = 16
TURNS = 5
Score = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Print one line a way, batch size and precision."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    detector = MemMCMAE(**VIT_B if "--full" in sys.argv else {}).eval().to(device)
    _say_size(detector, device)
    batched: Score = detector.strangeness
    if "--compile" in sys.argv:
        batched = torch.compile(batched)
    size_px = detector.params["size_px"]
    for count in (1, BATCH):
        voxels = torch.rand(count, 1, size_px, size_px, device=device)
        for half in (False, True) if device == "cuda" else (False,):
            with torch.autocast(device, dtype=torch.bfloat16, enabled=half):
                _compare(detector, batched, voxels)


@torch.inference_mode()
def _compare(detector: MemMCMAE, batched: Score, voxels_NCHW: Tensor) -> None:
    """Take turns, so that other work on the machine slows both."""
    masks = detector.visible_KV

    def one_at_a_time() -> None:
        for mask in masks:
            detector.strangeness(voxels_NCHW, mask[None])

    took: dict[str, list[float]] = {"batched": [], "one at a time": []}
    for turn in range(TURNS + 1):
        for name, work in (
            ("batched", lambda: batched(voxels_NCHW, masks)),
            ("one at a time", one_at_a_time),
        ):
            seconds = _seconds(work, voxels_NCHW)
            if turn:  # the first one warms up
                took[name].append(seconds)
    precision = "bf16" if torch.is_autocast_enabled(voxels_NCHW.device.type) else "float32"
    slow = median(took["one at a time"])
    for name, taken in took.items():
        each_ms = 1e3 * median(taken) / len(voxels_NCHW)
        print(  # noqa: T201 - its output
            f"{len(voxels_NCHW):3} images, {len(masks)} masks {name:14} {precision:8} "
            f"{each_ms:9.3f} ms an image {slow / median(taken):6.2f}"
        )
    if voxels_NCHW.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e9
        print(f"peak memory so far {peak:.2f} GB")  # noqa: T201 - its output


def _seconds(work: Callable[[], object], voxels_NCHW: Tensor) -> float:
    began = time.perf_counter()
    work()
    if voxels_NCHW.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


@torch.inference_mode()
def _say_size(detector: MemMCMAE, device: str) -> None:
    size_px = detector.params["size_px"]
    with FlopCounterMode(display=False) as counted:
        detector.score(torch.rand(1, 1, size_px, size_px, device=device))
    weights = sum(each.numel() for each in detector.parameters())
    print(  # noqa: T201 - its output
        f"{device}, {size_px} px: {weights / 1e6:.2f} million weights, "
        f"{counted.get_total_flops() / 2e9:.3f} billion multiply-adds an image"
    )


if __name__ == "__main__":
    main()
