"""What a finished cell makes of synthetic anomalies: the only strange pictures that may choose.

No labelled picture is looked at: the healthy pictures that calibrate, and a strange twin of each.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from models import artifact
from models.files import write_atomically
from models.metrics import auroc
from models.pasted import pasted
from triage.commands.benchmark_cells import Outcome
from triage.commands.evaluation import score
from triage.commands.measure import Prepared, prepare
from triage.commands.training_plan import read_pictures
from triage.settings import Recipe

if TYPE_CHECKING:
    from triage.commands.benchmark_plan import LabelledSet, Table

KEPT: Final = "synthetic.json"
MAIN: Final = "score"
"""The raw score that decides, beside the further ones by their names."""
Separations = dict[str, dict[str, float]]
"""AUROC by set and raw score."""


def synthetic(kept: Path, outcome: Outcome, table: "Table", data: Path) -> Separations:
    """Give how well a cell's raw scores tell healthy pictures from their twins; measured once.

    Raises:
        ConfigError: a picture is missing.
    """
    path = kept / outcome.name / KEPT
    if path.is_file():
        held: Separations = json.loads(path.read_bytes())
        return held
    loaded = artifact.load(kept / outcome.artifact)
    found = {}
    for name in outcome.results:
        one = table.sets[name]
        recipe = Recipe.model_validate(loaded.card.recipe_for((one.stratum,)))
        found[name] = _separations(loaded, _healthy(one, data, recipe))
    write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())
    return found


def _healthy(one: "LabelledSet", data: Path, recipe: Recipe) -> Prepared:
    (subset,) = one.training["data"]["subsets"].values()
    splits = subset["calibrate"]
    pictures = [
        each
        for each in read_pictures(data / one.folder)
        if each.subset == one.subset and each.split in splits and not each.abnormal
    ]
    return prepare(pictures, recipe)


def _separations(loaded: artifact.Artifact, healthy: Prepared) -> dict[str, float]:
    clean = score(loaded, healthy)
    strange = score(loaded, Prepared(healthy.pictures, pasted(healthy.voxels)))
    sides = {MAIN: (clean.scores, strange.scores)} | {
        name: (clean.others[name], strange.others[name]) for name in clean.others
    }
    return {name: auroc(np.asarray(a), np.asarray(b)) for name, (a, b) in sides.items()}
