"""Measure what is promised: ``python -m tests.bench.promise RUNS --data FOLDER --row anchor``.

RUNS is where `triage benchmark` kept its trainings of one size, FOLDER its pictures. For each
training of the row on a set whose detectors are calibrated, prints how many healthy pictures that
calibrated nothing (they stopped the training) are flagged at p <= 0.05, and between what
numbers a rate of 5 % lies with a probability of 95 %.
"""

import argparse
from pathlib import Path

from scipy.stats import binom

from models import artifact
from triage.commands.evaluation import score
from triage.commands.measure import prepare, remembered
from triage.commands.training_data import gather
from triage.commands.training_plan import Role, read_training, share_out
from triage.settings import Recipe

ALPHA = 0.05
STRATA = {"zhanglab": "DX/CHEST/child", "nih": "DX/CHEST/adult"}


def main() -> None:
    """Print one line a training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--row", default="anchor")
    asked = parser.parse_args()
    with remembered():
        for trained_on, stratum in STRATA.items():
            for folder in sorted(asked.runs.glob(f"{asked.row}-{trained_on}-[0-9]-*")):
                _promise(folder, asked.data, stratum)


def _promise(folder: Path, data: Path, stratum: str) -> None:
    training = read_training(folder / "training.yaml")
    shared = share_out(gather(training, data), training.data, training.plan.seed)
    loaded = artifact.load(next(folder.glob("run/*/artifact")))
    recipe = Recipe.model_validate(loaded.card.recipe_for((stratum,)))
    scores = score(loaded, prepare(shared[Role.HELD_OUT], recipe)).scores
    flagged = sum(loaded.calibration.p_value(one, (stratum,)).p <= ALPHA for one in scores)
    low, high = (int(end) for end in binom.interval(0.95, len(scores), ALPHA))
    print(  # noqa: T201 - its output
        f"{folder.name}: {flagged} of {len(scores)} flagged at p <= {ALPHA}; "
        f"{low} to {high} keep the promise"
    )


if __name__ == "__main__":
    main()
