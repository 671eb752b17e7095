"""The deletion test over labelled pictures: do the maps show what carried the scores?"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from models.artifact import Figure
from models.deletion import SHARE, NoReconstruction, delete
from models.metrics import share_flagged
from triage.commands.evaluation import Deleted
from triage.commands.measure import BATCH
from triage.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.artifact import Artifact
    from models.bootstrap import Floats
    from triage.commands.evaluation import Scored


def deletion(scored: "Scored", loaded: "Artifact", threshold: float | None) -> Deleted:
    """Delete the strangest region of every abnormal picture, and one elsewhere.

    Raises:
        ConfigError: the detector draws no map, or no image back.
    """
    tested = scored.prepared.where(lambda picture: picture.abnormal)
    detector = loaded.detector
    device = next(detector.parameters()).device
    try:
        parts = [delete(detector, batch.to(device)) for batch in torch.split(tested.voxels, BATCH)]
    except NoReconstruction as why:
        msg = f"{loaded.card.name}: {why}; leave out --deletion"
        raise ConfigError(msg) from None
    before = torch.cat([one.before_N.cpu() for one in parts]).double().numpy()
    after = torch.cat([one.after_N.cpu() for one in parts]).double().numpy()
    other = torch.cat([one.elsewhere_N.cpu() for one in parts]).double().numpy()
    flagged = before > threshold if threshold is not None else np.zeros(len(before), bool)
    return Deleted(
        subset=tested.pictures[0].subset,
        pictures=len(before),
        share=SHARE,
        fell=_share(after < before),
        fell_elsewhere=_share(other < before),
        fell_more=_share(after < other),
        median_fall=_median_fall(before, after),
        median_fall_elsewhere=_median_fall(before, other),
        unflagged=_share(after[flagged] <= threshold) if flagged.any() else None,
    )


def deletion_lines(found: Deleted) -> "Iterator[tuple[str, str]]":
    """Give each number with its name, for reading."""
    yield "deletion: score falls", _said(found.fell)
    yield "deletion elsewhere: score falls", _said(found.fell_elsewhere)
    yield "deletion: falls further than elsewhere", _said(found.fell_more)
    yield "deletion: median fall of the score", f"{found.median_fall:.1%}"
    yield "deletion elsewhere: median fall", f"{found.median_fall_elsewhere:.1%}"
    if found.unflagged is not None:
        yield "deletion: flagged ones that no longer are", _said(found.unflagged)


def _share(yes: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> Figure:
    """Give the share of True with Clopper and Pearson's interval."""
    return share_flagged(np.where(yes, 0.0, 1.0), 0.5)


def _median_fall(before: "Floats", after: "Floats") -> float:
    return float(np.median((before - after) / np.maximum(np.abs(before), 1e-12)))


def _said(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
