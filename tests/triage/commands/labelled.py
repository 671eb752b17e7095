"""A folder of small labelled pictures, and an artifact that was never trained on them."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from models import artifact
from models.calibrate import calibrate
from models.memae import MemAE
from tests.models import cards
from tests.models.chests import healthy, with_opacity
from triage import settings
from triage.commands.measure import prepare, scores
from triage.commands.training_plan import Picture

STRATUM = "DX/CHEST"
Line = tuple[str, str, int, str]
"""Subset, split, anomaly, patient."""
LINES: list[Line] = [
    *(("a", "train", 0, f"n{i}") for i in range(8)),
    *(("a", "test", 0, f"h{i}") for i in range(12)),
    *(("a", "test", 1, f"s{i // 2}") for i in range(10)),
    *(("b", "test", 0, f"b{i}") for i in range(6)),
    *(("b", "test", 1, f"c{i}") for i in range(6)),
]


def write_folder(folder: Path, lines: Sequence[Line] = LINES) -> Path:
    """Write the pictures and split.csv: abnormal ones have an opacity."""
    folder.mkdir(exist_ok=True)
    well = healthy(len(lines), seed=len(folder.name), size_px=64)
    strange = with_opacity(well)
    with (folder / "split.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "subset", "split", "anomaly", "patient"])
        for index, line in enumerate(lines):
            picture = (strange if line[2] else well)[index, 0].numpy()
            name = f"{index}.png"
            Image.fromarray((picture * 255).astype(np.uint8)).save(folder / name)
            writer.writerow([name, *line])
    return folder


def write_artifact(
    folder: Path, *, used: Sequence[Path] = (), strata: dict[str, list[float]] | None = None
) -> Path:
    """Pack an untrained MemAE whose card says that it has seen the pictures ``used``."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = MemAE(widths=(8, 8, 8, 8), memory="vector", slots=12, latent=4).eval()
    recipe = settings.load().recipes["chest-radiograph"]
    card = cards.card(params=detector.params)
    digests = sorted(artifact.image_digest(path.read_bytes()) for path in used)
    fingerprint = card.fingerprint.model_copy(update={"images": tuple(digests)})
    card = card.model_copy(
        update={"recipe": recipe.model_dump(mode="json"), "fingerprint": fingerprint}
    )
    if strata is None:
        strata = {STRATUM: _healthy_scores(detector, folder.parent)}
    return artifact.save(folder, detector, card, calibrate(strata), "# generated\n")


def _healthy_scores(detector: MemAE, scratch: Path) -> list[float]:
    pictures = []
    for index, picture in enumerate(healthy(39, seed=9, size_px=64)):
        path = scratch / f"calibration-{index}.png"
        Image.fromarray((picture[0].numpy() * 255).astype(np.uint8)).save(path)
        pictures.append(Picture(path, "a", "val", False, str(index)))
    recipe = settings.load().recipes["chest-radiograph"]
    return scores(detector, prepare(pictures, recipe).voxels)
