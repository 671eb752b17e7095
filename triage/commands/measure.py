"""Measure a detector on labelled pictures that chose nothing.

Shapes: N images, C channels, H W rows and columns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.artifact import Evaluation
from models.baselines import baselines
from models.metrics import CONFIDENCE, auroc_interval, share_flagged
from triage.commands.training_plan import Picture
from triage.preprocess.pipeline import prepare_image

if TYPE_CHECKING:
    from models.calibrate import Calibration
    from models.contract import Detector
    from triage.settings import Recipe

BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class Prepared:
    """Pictures and their voxels (NCHW, float32 in [0, 1]), in the same order."""

    pictures: tuple[Picture, ...]
    voxels: Tensor

    def where(self, keep: Callable[[Picture], bool]) -> "Prepared":
        """Give those pictures that ``keep`` says yes to."""
        chosen = [index for index, picture in enumerate(self.pictures) if keep(picture)]
        return Prepared(tuple(self.pictures[index] for index in chosen), self.voxels[chosen])


def prepare(pictures: tuple[Picture, ...], recipe: "Recipe") -> Prepared:
    """Read and prepare pictures by the code that prepares received studies."""
    voxels = []
    for picture in pictures:
        with Image.open(picture.path) as file:
            voxels.append(prepare_image(np.asarray(file.convert("L")), recipe).voxels_NCHW)
    return Prepared(pictures, torch.cat(voxels))


def scores(detector: "Detector", voxels: Tensor) -> list[float]:
    """Score images (NCHW) in batches, one float each."""
    device = next(detector.parameters()).device
    batches = torch.split(voxels, BATCH)
    return [float(s) for batch in batches for s in detector.score(batch.to(device)).score_N.cpu()]


def measure(
    detector: "Detector",
    calibration: "Calibration",
    tested: Prepared,
    stratum: str,
    *,
    alphas: Sequence[float],
    train: Tensor,
) -> Evaluation:
    """Give AUROC, sensitivity and false flags of one subset, beside trivial scores.

    ``train`` (NCHW) are the healthy training images that the nearest-thumbnail score compares to.
    """
    found = scores(detector, tested.voxels)
    abnormal = np.asarray([picture.abnormal for picture in tested.pictures])
    p_values = np.asarray([calibration.p_value(score, (stratum,)).p for score in found])
    patients = [picture.patient for picture in tested.pictures]
    return Evaluation(
        name=tested.pictures[0].subset,
        stratum=stratum,
        healthy=int((~abnormal).sum()),
        abnormal=int(abnormal.sum()),
        confidence=CONFIDENCE,
        auroc=auroc_interval(found, abnormal, patients),
        sensitivity={str(alpha): share_flagged(p_values[abnormal], alpha) for alpha in alphas},
        false_flags={str(alpha): share_flagged(p_values[~abnormal], alpha) for alpha in alphas},
        baselines=baselines(
            tested.where(lambda picture: not picture.abnormal).voxels,
            tested.where(lambda picture: picture.abnormal).voxels,
            train,
        ),
    )
