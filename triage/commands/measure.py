"""Measure a detector on labelled pictures that chose nothing.

Shapes: N images, C channels, H W rows and columns.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.artifact import Evaluation
from models.baselines import baselines
from models.bootstrap import CONFIDENCE
from models.metrics import auroc_interval, share_flagged
from triage.commands.training_plan import Picture
from triage.errors import ConfigError, NotEligible
from triage.preprocess.pipeline import prepare_image

if TYPE_CHECKING:
    from models.calibrate import Calibration
    from models.contract import Detector
    from triage.settings import Recipe

BATCH: Final = 64
_KEPT: ContextVar[dict[tuple[object, ...], Tensor] | None] = ContextVar("kept", default=None)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Pictures and their voxels (NCHW, float32 in [0, 1]), in the same order."""

    pictures: tuple[Picture, ...]
    voxels: Tensor

    def where(self, keep: Callable[[Picture], bool]) -> "Prepared":
        """Give those pictures that ``keep`` says yes to."""
        chosen = [index for index, picture in enumerate(self.pictures) if keep(picture)]
        return Prepared(tuple(self.pictures[index] for index in chosen), self.voxels[chosen])


def prepare(pictures: Sequence[Picture], recipe: "Recipe") -> Prepared:
    """Read and prepare pictures by the code that prepares received studies.

    Raises:
        ConfigError: a picture is missing, is none, or has no contrast at all.
    """
    voxels = [_voxels(picture, recipe) for picture in pictures]
    return Prepared(tuple(pictures), torch.cat(voxels))


@contextmanager
def remembered() -> Iterator[None]:
    """Within it no picture is read twice: for many small runs over the same pictures."""
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def _voxels(picture: Picture, recipe: "Recipe") -> Tensor:
    """Give one picture, 1 C H W."""
    kept = _KEPT.get()
    try:
        if kept is None:
            return _read(picture, recipe)
        key = (picture.path, picture.path.stat().st_mtime_ns, recipe)
        if key not in kept:
            kept[key] = _read(picture, recipe)
        return kept[key]
    except OSError as why:
        said = f"is no picture that can be read ({type(why).__name__})"
    except NotEligible:
        said = "has no contrast at all"
    msg = f"{picture.where}: {picture.path} {said}; mend it, or take the line out"
    raise ConfigError(msg)


def _read(picture: Picture, recipe: "Recipe") -> Tensor:
    with Image.open(picture.path) as file:
        return prepare_image(np.asarray(file.convert("L")), recipe).voxels_NCHW


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
