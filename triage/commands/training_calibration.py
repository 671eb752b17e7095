"""A new detector's calibration, on the healthy images that its training has put aside for it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from models.calibrate import Calibration, Place, Rule
from models.healthy import Healthy, NotFinite, calibrate_studies
from triage.commands.measure import BATCH, Prepared
from triage.commands.training_cohort import series_of
from triage.commands.training_data import strangest
from triage.detect import place_of
from triage.errors import ConfigError
from triage.settings import Policy

if TYPE_CHECKING:
    from models.contract import Detector
    from triage.commands.training_pictures import Picture
    from triage.commands.training_plan import Training


def calibrate(detector: "Detector", healthy: Prepared, training: "Training") -> Calibration:
    """Calibrate every stratum, and those that pool several; one score a patient in each.

    A cohort's series also say which views, sites and scanners were seen; pictures cannot.

    Raises:
        ConfigError: a score is no number.
    """
    studies, found = strangest(detector, healthy)
    peaks = _peaks(detector, healthy)
    scored = (
        Healthy(
            patient=picture.patient,
            study=picture.study_instance_uid or str(picture.path),
            score=score,
            place=_place(picture, training),
            images=len(picture.files) or 1,
            peak=peaks.get(picture),
        )
        for picture, score in zip(studies.pictures, found, strict=True)
    )
    try:
        return calibrate_studies(scored, Rule(Policy(levels=()).min_calibration_n))
    except NotFinite as why:
        msg = f"{training.file}: {why}: the training went astray; lower plan.learning_rate"
        raise ConfigError(msg) from None


def _place(picture: "Picture", training: "Training") -> Place:
    subset = training.data.subsets[picture.subset]
    named = (picture.stratum, subset.stratum, subset.pooled or training.data.pooled)
    base = tuple(dict.fromkeys(name for name in named if name))
    return place_of(series_of(picture), base) if picture.files else Place(base)


def _peaks(detector: "Detector", healthy: Prepared) -> Mapping["Picture", float]:
    """Give the highest value of each picture's or series' map; none where no map is drawn."""
    if not healthy.pictures:
        return {}
    device = next(detector.parameters()).device
    highest: list[float] = []
    for batch in torch.split(healthy.voxels, BATCH):
        drawn = detector.score(batch.to(device)).map_NHW
        if drawn is None:
            return {}
        highest += drawn.amax((1, 2)).cpu().tolist()
    found: dict[Picture, float] = {}
    for picture, peak in zip(healthy.pictures, highest, strict=True):
        found[picture] = max(found.get(picture, peak), peak)
    return found
