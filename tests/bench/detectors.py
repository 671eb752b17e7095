"""Measure how fast detectors score: ``python -m tests.bench.detectors [ARTIFACT ...]``.

Without an artifact every family of DETECTORS is measured with its default parameters, untrained,
which costs the same. Prints images a second in batches of 32, of one core's own time and on a GPU
where there is one, beside the plainest autoencoder in the same run, and the size of the weights.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import models
from models import artifact
from models.contract import Detector
from models.speed import speed

SIZES_PX = (64, 128, 224)
BATCH = 32
MADDR: dict[str, Any] = {
    "base": "memae",
    "base_params": {},
    "organs": ["a", "b"],
    "modalities": ["a", "b"],
}


def main() -> None:
    """Print one line a detector, size and device."""
    print(f"{'detector':44} {'device':6} {'MB':>6} {'a second':>9} {'plain':>9} {'ratio':>6}")  # noqa: T201 - its output
    found = _given(sys.argv[1:]) if sys.argv[1:] else _families()
    for name, detector, size_px in found:
        held = (*detector.parameters(), *detector.buffers())
        megabytes = sum(one.numel() * one.element_size() for one in held) / 1e6
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            voxels = torch.rand(BATCH, 1, size_px, size_px, device=device)
            rate = speed(detector.to(device).score, voxels)
            print(  # noqa: T201 - its output
                f"{name:44} {device:6} {megabytes:6.1f} {rate.detector:9.1f} {rate.plain:9.1f} "
                f"{rate.detector / rate.plain:6.2f}"
            )


def _given(folders: list[str]) -> Iterator[tuple[str, Detector, int]]:
    for folder in folders:
        loaded = artifact.load(Path(folder))
        yield loaded.card.name, loaded.detector, int(loaded.card.recipe["size_px"][0])


def _families() -> Iterator[tuple[str, Detector, int]]:
    for family in models.DETECTORS:
        for size_px in SIZES_PX:
            params: dict[str, Any] = {"size_px": size_px}
            if family == "maddr":
                params = MADDR | {"base_params": params}
            torch.manual_seed(0)
            yield f"{family}, {size_px} px", models.load(family)(**params).eval(), size_px


if __name__ == "__main__":
    main()
