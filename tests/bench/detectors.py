"""Measure what detectors cost: ``python -m tests.bench.detectors [ARTIFACT ...]``.

Without an artifact every family of DETECTORS is measured with its default parameters, untrained,
which costs the same. Prints the size of the weights, the multiply-adds of an image, the memory of
a fresh process beyond what it takes without a detector, and images a second one by one and in
batches of 32, of one core's own time and on a GPU where there is one, each beside the plainest
autoencoder of the same input in the same run.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import models
from models import artifact
from models.contract import Detector
from models.cost import multiply_adds
from models.peak import Subject, peak
from models.speed import PlainAutoencoder, speed

SIZES_PX = (64, 128, 224)
BATCH = 32
MADDR: dict[str, Any] = {
    "base": "memae",
    "base_params": {},
    "organs": ["a", "b"],
    "modalities": ["a", "b"],
}


def main() -> None:
    """Print two lines a detector and size, and two more where there is a GPU."""
    found = _given(sys.argv[1:]) if sys.argv[1:] else _families()
    for name, detector, subject in found:
        held = (*detector.parameters(), *detector.buffers())
        taken, size_px = peak(subject), subject.size_px
        plain, one = PlainAutoencoder(), torch.rand(1, 1, size_px, size_px)
        print(  # noqa: T201 - its output
            f"{name}: {sum(each.numel() * each.element_size() for each in held) / 1e6:.1f} MB, "
            f"{multiply_adds(detector, one) / 1e6:.1f} million multiply-adds (plain "
            f"{multiply_adds(plain, one) / 1e6:.1f}), {taken.one:.1f} MB of memory for an image, "
            f"{taken.batch:.1f} for {BATCH}"
        )
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            detector.to(device)
            for images in (1, BATCH):
                voxels = torch.rand(images, 1, size_px, size_px, device=device)
                rate = speed(detector.score, voxels)
                print(  # noqa: T201 - its output
                    f"  {device:4} {images:2} at once {rate.detector:9.1f} a second, plain "
                    f"{rate.plain:9.1f}, ratio {rate.detector / rate.plain:5.2f}",
                    flush=True,
                )


def _given(folders: list[str]) -> Iterator[tuple[str, Detector, Subject]]:
    for folder in folders:
        loaded = artifact.load(Path(folder))
        size_px = int(loaded.card.recipe["size_px"][0])
        yield loaded.card.name, loaded.detector, Subject(size_px, BATCH, artifact=folder)


def _families() -> Iterator[tuple[str, Detector, Subject]]:
    for family in models.DETECTORS:
        for size_px in SIZES_PX:
            params: dict[str, Any] = {"size_px": size_px}
            if family == "maddr":
                params = MADDR | {"base_params": params}
            torch.manual_seed(0)
            detector = models.load(family)(**params).eval()
            yield (
                f"{family}, {size_px} px",
                detector,
                Subject(size_px, BATCH, family=family, params=params),
            )


if __name__ == "__main__":
    main()
