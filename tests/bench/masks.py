"""Measure MemMC-MAE's masks: ``python -m tests.bench.masks [--full] [--compile] [--repeats N]``.

Times the scoring of one image and of a batch with all masks as one batch, against one mask after
the other, on one CPU thread or on a GPU where there is one, there also in bf16; the ratio is of
one after the other, and ``off`` is how far the scores are from those, at most, as a share.
``--full`` measures the paper's size, ViT-B, ``--compile`` what torch.compile makes of it,
``--repeats 3`` twelve masks instead of four, as many as the paper's ten. Also prints weights,
multiply-adds of an image, a GPU's peak memory, and where the time of a batch goes.
"""

import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.cost import multiply_adds
from models.memmc_mae import VIT_B, MemMCMAE
from models.quick import quick

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 16
TURNS = 5


def main() -> None:
    """Print one line a way, batch size and precision."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    params: dict[str, Any] = dict(VIT_B) if "--full" in sys.argv else {}
    if "--repeats" in sys.argv:
        params["repeats"] = int(sys.argv[sys.argv.index("--repeats") + 1])
    detector = MemMCMAE(**params).eval().to(device)
    size_px = int(detector.params["size_px"])
    weights = sum(each.numel() for each in detector.parameters())
    work = multiply_adds(detector, torch.rand(1, 1, size_px, size_px, device=device))
    print(  # noqa: T201 - its output
        f"{device}, {size_px} px: {weights / 1e6:.2f} million weights, "
        f"{work / 1e9:.3f} billion multiply-adds an image"
    )
    for count in (1, BATCH):
        voxels = torch.rand(count, 1, size_px, size_px, device=device)
        for half in (False, True) if device == "cuda" else (False,):
            _compare(detector, voxels, half=half)
    _parts(detector, voxels)


@torch.inference_mode()
def _one_at_a_time(detector: MemMCMAE, voxels_NCHW: Tensor) -> Tensor:
    """Score one mask after the other; every patch is hidden by three masks of four."""
    masks = detector.visible_KV
    strange = [detector.strangeness(voxels_NCHW, mask[None]) for mask in masks]
    return torch.stack(strange).mean((0, 2, 3)) / 0.75


def _compare(detector: MemMCMAE, voxels_NCHW: Tensor, *, half: bool) -> None:
    """Take turns, so that other work on the machine slows both."""
    batched = quick(detector, half=half, compiled="--compile" in sys.argv)
    ways: dict[str, Callable[[], Tensor]] = {
        "batched": lambda: batched(voxels_NCHW).score_N,
        "one at a time": lambda: _one_at_a_time(detector, voxels_NCHW),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    scores = {}
    for turn in range(TURNS + 1):
        for name, way in ways.items():
            began = _now(voxels_NCHW)
            scores[name] = way()
            if turn:  # the first one warms up
                took[name].append(_now(voxels_NCHW) - began)
    slow = median(took["one at a time"])
    expected = scores["one at a time"]
    off = float(((scores["batched"] - expected) / expected).abs().max())
    precision = "bf16" if half else "float32"
    for name, taken in took.items():
        each_ms = 1e3 * median(taken) / len(voxels_NCHW)
        print(  # noqa: T201 - its output
            f"{len(voxels_NCHW):3} images, {len(detector.visible_KV)} masks {name:14} "
            f"{precision if name == 'batched' else 'float32':8} {each_ms:9.3f} ms an image "
            f"{slow / median(taken):6.2f}" + (f", off {off:.1e}" if name == "batched" else "")
        )
    if voxels_NCHW.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e9
        print(f"peak memory so far {peak:.2f} GB")  # noqa: T201 - its output


@torch.inference_mode()
def _parts(detector: MemMCMAE, voxels_NCHW: Tensor) -> None:
    """Say where the time of a batch goes: encoder, decoder, comparison of the images."""
    masks_NKV = detector.visible_KV.expand(len(voxels_NCHW), -1, -1)
    ways: dict[str, Callable[[], object]] = {
        "encoder": lambda: detector.encode(voxels_NCHW, masks_NKV),
        "encoder, decoder": lambda: detector.rebuild(voxels_NCHW, masks_NKV),
        "all": lambda: detector.score(voxels_NCHW),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(TURNS + 1):
        for name, way in ways.items():
            began = _now(voxels_NCHW)
            way()
            if turn:
                took[name].append(_now(voxels_NCHW) - began)
    whole, before = median(took["all"]), 0.0
    for name, part in zip(ways, ("encoder", "decoder", "MS-SSIM and map"), strict=True):
        until = median(took[name])
        print(f"{part:16} {100 * (until - before) / whole:5.1f} % of the time")  # noqa: T201 - its output
        before = until


def _now(voxels_NCHW: Tensor) -> float:
    """Give the seconds of a GPU that has done its work, or of this thread's core alone."""
    if voxels_NCHW.device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
