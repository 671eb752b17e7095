"""Measure decoding and preprocessing: ``python -m tests.bench.preprocess``. Prints a table, ms.

A generated CT series of 300 slices (512 x 512), a generated radiograph (2500 x 2000, 12 bits) and
a chest-sized one (1024 x 1024), each several times with a warm child, one torch thread.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from tests.triage.files import image, stack, study_ref, write
from triage import settings
from triage.assemble import read
from triage.preprocess.decoder import Decoder
from triage.preprocess.pipeline import prepare_image, preprocess
from triage.settings import Decode
from triage.study import Series

REPEATS = 5


def main() -> None:
    """Print the medians and ranges."""
    torch.set_num_threads(1)
    recipes = settings.load(config=settings.PACKAGED).recipes
    with tempfile.TemporaryDirectory() as folder, Decoder(Decode()) as decoder:
        ct, dx, small = _studies(Path(folder))
        began = time.perf_counter()
        decoder.decode([small.images[0].ref.path])
        _line("start the child, first image", [time.perf_counter() - began])
        paths = [one.ref.path for one in ct.images]
        _measure("CT 300: read headers, sha256", lambda: read(study_ref(paths)))
        _measure("CT 300: decode", lambda: decoder.decode(paths))
        for name in ("head-ct", "chest-ct"):
            recipe = recipes[name]
            _measure(f"CT 300: all, {name}", lambda: preprocess(ct, recipe, decoder))  # noqa: B023
        radiograph = recipes["chest-radiograph"]
        _measure("DX 2500x2000: decode", lambda: decoder.decode([dx.images[0].ref.path]))
        _measure("DX 2500x2000: all", lambda: preprocess(dx, radiograph, decoder))
        _measure("DX 1024x1024: all", lambda: preprocess(small, radiograph, decoder))
        jpeg = np.random.default_rng(0).integers(0, 256, (256, 256), dtype=np.uint8)
        _measure("array 256x256: prepare_image", lambda: prepare_image(jpeg, radiograph))


def _studies(folder: Path) -> tuple[Series, Series, Series]:
    random = np.random.default_rng(0)
    volume = random.normal(40, 30, (300, 512, 512)).astype(np.int16)
    volume[:, :80] = volume[:, :, :80] = -1000
    (folder / "ct").mkdir()
    slices = stack(folder / "ct", volume, gap_mm=0.625, PixelSpacing=[0.68, 0.68])
    large = random.integers(0, 4096, (2500, 2000), dtype=np.uint16)
    small = random.integers(0, 4096, (1024, 1024), dtype=np.uint16)
    files = [
        write(image("DX", pixels, BitsStored=12, HighBit=11), folder / f"{index}.dcm")
        for index, pixels in enumerate((large, small))
    ]
    made = [read(study_ref(paths)).series[0] for paths in (slices, files[:1], files[1:])]
    return made[0], made[1], made[2]


def _measure(name: str, work: Callable[[], object]) -> None:
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    _line(name, taken)


def _line(name: str, seconds: list[float]) -> None:
    low, middle, high = (1000 * one for one in (min(seconds), median(seconds), max(seconds)))
    sys.stdout.write(f"{name:34} {middle:8.1f} ms   ({low:.1f} to {high:.1f})\n")


if __name__ == "__main__":
    main()
