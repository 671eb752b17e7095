"""What a finished cell makes of a set's further labelled pictures: another question asked of it.

Their healthy ones may calibrate the detector, so nothing is said of a threshold on them: only the
AUROC, which no calibration enters. None of their patients may be among those that train.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import Field, ValidationError

from models import artifact
from models.artifact import Figure
from models.files import write_atomically
from models.metrics import auroc_interval
from triage.commands.benchmark_cells import Outcome
from triage.commands.evaluate import Question, choose
from triage.commands.evaluation import score, trivial_scores
from triage.commands.measure import prepare
from triage.commands.training_plan import Picture, read_pictures
from triage.errors import ConfigError
from triage.frozen import Frozen
from triage.settings import Recipe

if TYPE_CHECKING:
    from models.artifact import Artifact
    from triage.commands.benchmark_plan import LabelledSet, Table

KEPT: Final = "own.json"


class Own(Frozen):
    """One detector on a set's further pictures."""

    artifact_sha256: str
    splits: tuple[str, ...]
    """Another artifact, or other splits, are measured anew."""
    healthy: int
    abnormal: int
    patients: int
    auroc: Figure
    baselines: dict[str, float]
    """AUROC of trivial scores on the same prepared pictures, each in its better direction."""


class Owns(Frozen):
    """One cell's, by set."""

    sets: dict[str, Own] = Field(default_factory=dict)


def own(kept: Path, outcome: Outcome, table: "Table", data: Path) -> Owns:
    """Give a cell's AUROC on the further pictures of every set it is measured on; measured once.

    Raises:
        ConfigError: a picture is missing, a label is, a patient trains too, or what was kept is
            damaged.
    """
    path = kept / outcome.name / KEPT
    known = _known(path)
    found: dict[str, Own] = {}
    for name in outcome.results:
        one, before = table.sets[name], known.sets.get(name)
        if one.also is None:
            continue
        asked = (outcome.artifact_sha256, one.also.splits)
        if before is None or (before.artifact_sha256, before.splits) != asked:
            before = _measured(artifact.load(kept / outcome.artifact), one, one.also.splits, data)
        found[name] = before
    if found != known.sets:
        write_atomically(path, (Owns(sets=found).model_dump_json(indent=1) + "\n").encode())
    return Owns(sets=found)


def _known(path: Path) -> Owns:
    try:
        return Owns.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Owns()
    except ValidationError:
        msg = f"{path} is damaged or from another version; remove it to measure again"
        raise ConfigError(msg) from None


def _measured(loaded: "Artifact", one: "LabelledSet", splits: tuple[str, ...], data: Path) -> Own:
    everything = read_pictures(data / one.folder)
    (tested,) = choose(everything, Question(data / one.folder, (one.subset,), splits))
    learnt = _learnt(everything, one)
    _refuse_learnt(tested, learnt)
    recipe = Recipe.model_validate(loaded.card.recipe_for((one.stratum,)))
    scored = score(loaded, prepare(tested, recipe))
    persons = [picture.patient for picture in tested]
    healthy = [picture for picture in learnt if not picture.abnormal]
    return Own(
        artifact_sha256=loaded.sha256,
        splits=splits,
        healthy=int((~scored.abnormal).sum()),
        abnormal=int(scored.abnormal.sum()),
        patients=len(set(persons)),
        auroc=auroc_interval(scored.scores, scored.abnormal, persons),
        baselines=trivial_scores(scored.prepared, prepare(healthy, recipe).voxels),
    )


def _learnt(everything: Sequence[Picture], one: "LabelledSet") -> tuple[Picture, ...]:
    """Give the lines that train: half of them calibrate or stop it, none is measured on."""
    (subset,) = one.training["data"]["subsets"].values()
    splits = subset["train"]
    return tuple(line for line in everything if line.subset == one.subset and line.split in splits)


def _refuse_learnt(tested: Sequence[Picture], learnt: Sequence[Picture]) -> None:
    persons = {picture.patient for picture in learnt}
    if shared := [picture for picture in tested if picture.patient in persons]:
        msg = (
            f"{shared[0].where} and {len(shared) - 1} more: the patient trains too; name other "
            "splits under also, or take these lines out"
        )
        raise ConfigError(msg)
