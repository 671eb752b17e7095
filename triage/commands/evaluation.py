"""What a detector is worth on labelled pictures that chose nothing: every number, no words.

Scores come from the code that serves; thresholds from healthy calibration pictures alone.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from models.artifact import Figure
from models.baselines import baselines
from models.bootstrap import (
    CONFIDENCE,
    Bools,
    Floats,
    Measure,
    accuracy_of,
    auroc_of,
    average_precision_of,
    bootstrap,
    f1_of,
    sensitivity_of,
)
from models.metrics import share_flagged
from triage.commands.measure import BATCH, Prepared
from triage.frozen import Frozen

if TYPE_CHECKING:
    from models.artifact import Artifact
    from models.calibrate import Calibration

SPECIFICITIES: Final = (0.9, 0.95)


class Result(Frozen):
    """One detector on the labelled pictures of one subset."""

    subset: str
    splits: tuple[str, ...]
    healthy: int
    abnormal: int
    patients: int
    stratum: str
    """Whose healthy scores the p-values were taken against."""
    calibrated_on: int
    """How many scores these are."""
    alpha: float
    """Flagged is what has p <= alpha; of the healthy, this share is promised to be flagged."""
    threshold: float | None
    """The raw score above which p <= alpha; None where too few calibrate it: none is flagged."""
    confidence: float
    auroc: Figure
    average_precision: Figure
    sensitivity_at_specificity: dict[str, Figure]
    """By specificity. The cut is read off the test pictures: no threshold anyone could set."""
    f1: Figure
    accuracy: Figure
    sensitivity: Figure
    """Share of the abnormal that is flagged, with Clopper and Pearson's interval."""
    false_flags: Figure
    """Share of the healthy that is flagged, with Clopper and Pearson's interval."""
    others: dict[str, Figure]
    """AUROC of the detector's further raw scores."""
    baselines: dict[str, float]
    """AUROC of trivial scores on the same prepared pictures, each in its better direction."""


class Deleted(Frozen):
    """What became of the abnormal pictures' scores of one subset."""

    subset: str
    pictures: int
    """The abnormal ones."""
    share: float
    """Of each picture, replaced by its reconstruction."""
    fell: Figure
    """Share whose score fell when the strangest region was replaced."""
    fell_elsewhere: Figure
    """The same of a region of this shape elsewhere in the picture."""
    fell_more: Figure
    """Share whose score fell further by the strangest region than by the other one."""
    median_fall: float
    """Of the score, as a share of what it was."""
    median_fall_elsewhere: float
    unflagged: Figure | None
    """Of the flagged, the share that is no longer; None where none was flagged."""


class Report(Frozen):
    """Everything that was found, and of what."""

    name: str
    version: str
    family: str
    artifact_sha256: str
    data: str
    checked: tuple[str, ...]
    """What is known of whether the detector saw these pictures or patients before."""
    device: str
    images_per_second: float
    """Scored, prepared pictures, in batches; reading and preparing not counted."""
    results: tuple[Result, ...]
    intended_use: str
    deletions: tuple[Deleted, ...] = ()
    """Where asked for: whether the maps show what carried the scores."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The pictures of one subset with everything the detector says of them, on the CPU."""

    prepared: Prepared
    scores: Floats
    others: Mapping[str, Floats]
    maps: Tensor | None
    """NHW, or None where the detector draws none."""

    @property
    def abnormal(self) -> Bools:
        """Give the labels, in order."""
        return np.asarray([picture.abnormal for picture in self.prepared.pictures], bool)


def score(
    artifact: "Artifact", prepared: Prepared, moved: Callable[[int], None] | None = None
) -> Scored:
    """Score pictures in batches on the detector's device; ``moved`` hears how many are done."""
    detector = artifact.detector
    device = next(detector.parameters()).device
    found = []
    for batch in torch.split(prepared.voxels, BATCH):
        found.append(detector.score(batch.to(device)))
        if moved:
            moved(len(batch))
    maps = [one.map_NHW.cpu() for one in found if one.map_NHW is not None]
    return Scored(
        prepared=prepared,
        scores=_numbers([one.score_N for one in found]),
        others={name: _numbers([one.others[name] for one in found]) for name in found[0].others},
        maps=torch.cat(maps) if maps else None,
    )


def _numbers(parts: list[Tensor]) -> Floats:
    return torch.cat([part.cpu() for part in parts]).double().numpy()


def judge(
    scored: Scored,
    calibration: "Calibration",
    stratum: str,
    alpha: float,
    trivial: Mapping[str, float],
) -> Result:
    """Give every number of one subset; ``trivial`` are its baselines.

    Raises:
        Uncalibrated: no healthy study calibrates the stratum.
        ValueError: a score is not finite, or one label is missing.
    """
    abnormal, pictures = scored.abnormal, scored.prepared.pictures
    persons = [picture.patient for picture in pictures]
    p_values = np.asarray([calibration.p_value(one, (stratum,)).p for one in scored.scores])
    figures = bootstrap(_measures(scored, p_values <= alpha), abnormal, persons)
    return Result(
        subset=pictures[0].subset,
        splits=tuple(sorted({picture.split for picture in pictures})),
        healthy=int((~abnormal).sum()),
        abnormal=int(abnormal.sum()),
        patients=len(set(persons)),
        stratum=stratum,
        calibrated_on=len(calibration.strata[stratum]),
        alpha=alpha,
        threshold=threshold(calibration, stratum, alpha),
        confidence=CONFIDENCE,
        auroc=figures["auroc"],
        average_precision=figures["average precision"],
        sensitivity_at_specificity={f"{one:.2f}": figures[f"at {one}"] for one in SPECIFICITIES},
        f1=figures["f1"],
        accuracy=figures["accuracy"],
        sensitivity=share_flagged(p_values[abnormal], alpha),
        false_flags=share_flagged(p_values[~abnormal], alpha),
        others={name: figures[f"other {name}"] for name in scored.others},
        baselines=dict(trivial),
    )


def threshold(calibration: "Calibration", stratum: str, alpha: float) -> float | None:
    """Give the raw score above which p <= alpha.

    p <= alpha as long as no more than alpha (n + 1) - 1 calibration scores are as strange.
    """
    healthy = calibration.strata[stratum]
    spared = math.floor(alpha * (len(healthy) + 1) + 1e-9) - 1
    return None if spared < 0 else healthy[len(healthy) - 1 - spared]


def trivial_scores(tested: Prepared, train: Tensor | None) -> dict[str, float]:
    """Give the AUROC of each trivial score; ``train`` (NCHW) are healthy training pictures."""
    return baselines(
        tested.where(lambda picture: not picture.abnormal).voxels,
        tested.where(lambda picture: picture.abnormal).voxels,
        train,
    )


def _measures(scored: Scored, flagged: Bools) -> dict[str, Measure]:
    sick, raw = scored.abnormal, scored.scores
    return {
        "auroc": auroc_of(raw, sick),
        "average precision": average_precision_of(raw, sick),
        **{f"at {one}": sensitivity_of(one, raw, sick) for one in SPECIFICITIES},
        "f1": f1_of(flagged, sick),
        "accuracy": accuracy_of(flagged, sick),
        **{f"other {name}": auroc_of(values, sick) for name, values in scored.others.items()},
    }
