"""``triage train``: from folders of pictures, or cohorts, and a training file to an artifact."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn, TimeRemainingColumn

import models
from models import artifact
from models.artifact import Card, Evaluation, Fingerprint, Source
from models.checkpoint import WrongRun
from models.curves import Epoch, best
from models.fit import Images, epochs_of, fit
from models.readme import readme
from triage import settings
from triage.commands.measure import BATCH, Prepared, measure
from triage.commands.training_calibration import calibrate
from triage.commands.training_data import gather, labels_of, prepare_roles, strangest
from triage.commands.training_plan import Picture, Role, Training, read_training, share_out
from triage.errors import ConfigError

if TYPE_CHECKING:
    from models.calibrate import Calibration
    from models.contract import Detector
    from triage.settings import Settings


def train(
    config: Path,
    *,
    data: Path | None = None,
    runs: Path = Path("runs"),
    resume: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Train, calibrate and measure one detector, and tell where its artifact is and how good.

    ``data`` holds the subsets' folders, or is one, with split.csv or cohort.csv; else
    TRIAGE_TRAIN_DATA names it, else the training file.
    ``runs`` gets NAME-VERSION/ with checkpoint, curves and artifact/. With ``resume`` a run that
    was killed is carried on. On a terminal a bar is drawn.

    Raises:
        ConfigError: the training file or a line of the data is wrong, a patient or picture would
            have two roles, or the training leads nowhere.
    """
    training = read_training(config)
    known = settings.load()
    shared = share_out(gather(training, data), training.data, training.plan.seed)
    run = runs / f"{training.name}-{training.version}"
    detector = _new(training, device)
    labels_of(shared[Role.TRAIN], training)  # before the pictures are read, which takes long
    roles = prepare_roles(shared, training, known)
    history = _fit(detector, roles, training, run, resume=resume)
    calibration = calibrate(detector, roles[Role.CALIBRATION], training)
    card = Card(
        name=training.name,
        family=training.family,
        version=training.version,
        params=detector.params,
        recipe=known.recipes[training.recipe].model_dump(mode="json"),
        recipes=_recipes(training, known),
        fingerprint=_fingerprint(training, shared, history),
        evaluations=_evaluate(detector, calibration, roles, training),
        intended_use=training.intended_use,
        limitations=training.limitations,
        licences=_licences(training, shared),
    )
    folder = artifact.save(run / "artifact", detector, card, calibration, readme(card))
    return {
        "artifact": str(folder),
        "epochs": len(history),
        "evaluations": [evaluation.model_dump(mode="json") for evaluation in card.evaluations],
    }


def _fit(
    detector: "Detector",
    roles: Mapping[Role, Prepared],
    training: Training,
    run: Path,
    *,
    resume: bool,
) -> tuple[Epoch, ...]:
    learnt_from, held_out = roles[Role.TRAIN], roles[Role.HELD_OUT]
    often = [training.data.subsets[picture.subset].repeat for picture in learnt_from.pictures]
    shown = torch.arange(len(often)).repeat_interleave(torch.tensor(often))
    images = Images(
        learnt_from.voxels[shown],
        held_out.voxels,
        labels_of([learnt_from.pictures[index] for index in shown.tolist()], training),
        labels_of(held_out.pictures, training),
    )
    try:
        with _bar(training, detector) as progress:
            history = fit(detector, images, training.plan, run, resume=resume, progress=progress)
    except WrongRun as why:
        msg = f"{training.file}: {why}"
        raise ConfigError(msg) from None
    device = next(detector.parameters()).device
    detector.settle(batch.to(device) for batch in torch.split(images.train, BATCH))
    detector.gauge(batch.to(device) for batch in torch.split(images.held_out, BATCH))
    return history


def _recipes(training: Training, known: "Settings") -> dict[str, dict[str, Any]]:
    """Give the recipes that differ from the training's, by the strata they serve."""
    found: dict[str, dict[str, Any]] = {}
    for name, subset in training.data.subsets.items():
        recipe = known.recipes[training.recipe_of(name)].model_dump(mode="json")
        for stratum in {subset.stratum, *([subset.pooled] if subset.pooled else [])}:
            if found.setdefault(stratum, recipe) != recipe:
                msg = (
                    f"{training.file}: data.subsets.{name}.recipe: stratum {stratum} has two "
                    "recipes, so a study of it could not be prepared; give it one"
                )
                raise ConfigError(msg)
    usual = known.recipes[training.recipe].model_dump(mode="json")
    return {stratum: recipe for stratum, recipe in found.items() if recipe != usual}


def _licences(training: Training, shared: Mapping[Role, tuple[Picture, ...]]) -> tuple[str, ...]:
    taught = {picture.subset for picture in shared[Role.TRAIN]}
    subsets = training.data.subsets
    return tuple(f"{name}: {subsets[name].licence}" for name in subsets if name in taught)


def _new(training: Training, device: str) -> "Detector":
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.plan.seed)
        try:
            return models.load(training.family)(**training.params).to(device)
        except (TypeError, ValueError) as why:
            msg = f"{training.file}: family, params: {why}"
            raise ConfigError(msg) from None


def _evaluate(
    detector: "Detector",
    calibration: "Calibration",
    roles: Mapping[Role, Prepared],
    training: Training,
) -> tuple[Evaluation, ...]:
    train_images, tests = roles[Role.TRAIN].voxels, roles[Role.TEST]
    found = []
    for name, subset in training.data.subsets.items():
        tested, _ = strangest(detector, tests.where(partial(_is_of, name)))
        if {picture.abnormal for picture in tested.pictures} == {False, True}:
            found.append(
                measure(
                    detector,
                    calibration,
                    tested,
                    subset.stratum,
                    alphas=training.alphas,
                    train=train_images,
                )
            )
    return tuple(found)


def _is_of(name: str, picture: Picture) -> bool:
    return picture.subset == name


def _fingerprint(
    training: Training, shared: Mapping[Role, tuple[Picture, ...]], history: Sequence[Epoch]
) -> Fingerprint:
    digest, used = hashlib.sha256(), set()
    for role in Role:
        for picture in shared[role]:
            for content in _contents(picture):
                digest.update(f"{role} {content}\n".encode())
                if role is not Role.TEST:
                    used.add(content[: artifact.DIGEST])
    return Fingerprint(
        trained_on=_sources(shared[Role.TRAIN], training),
        held_out=_sources(shared[Role.HELD_OUT], training),
        calibrated_on=_sources(shared[Role.CALIBRATION], training),
        calibration_date=_today(),
        seed=training.plan.seed,
        plan=training.plan.model_dump(mode="json"),
        epochs=len(history),
        best_epoch=best(history).number,
        data_sha256=digest.hexdigest(),
        images=tuple(sorted(used)),
        versions=artifact.versions(),
    )


def _today() -> str:
    """Give the day in UTC; SOURCE_DATE_EPOCH wins, so that a training repeats to the bit."""
    moment = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return datetime.fromtimestamp(moment, UTC).date().isoformat()


def _contents(picture: Picture) -> tuple[str, ...]:
    """Give the SHA-256 of the picture, or of each of the series' files."""
    if picture.files:
        return tuple(one.sha256 for one in picture.files)
    return (hashlib.sha256(picture.path.read_bytes()).hexdigest(),)


def _sources(pictures: Sequence[Picture], training: Training) -> tuple[Source, ...]:
    found = []
    for name, subset in training.data.subsets.items():
        own = [picture for picture in pictures if picture.subset == name]
        if own:
            found.append(
                Source(
                    name=name,
                    images=sum(len(picture.files) or 1 for picture in own),
                    patients=len({picture.patient for picture in own}),
                    licence=subset.licence,
                )
            )
    return tuple(found)


def _bar(
    training: Training, detector: "Detector"
) -> AbstractContextManager[Callable[[Epoch], None] | None]:
    console = Console(stderr=True)
    return _Bar(training, detector, console) if console.is_terminal else nullcontext()


class _Bar:
    """A line on the terminal for each stage, which moves with its epochs."""

    def __init__(self, training: Training, detector: "Detector", console: Console) -> None:
        columns = (*Progress.get_default_columns()[:3], TimeElapsedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console)
        self._tasks = {
            stage.name: self._progress.add_task(
                f"{training.name}: {stage.name}",
                total=epochs_of(stage, training.plan),
                start=False,
            )
            for stage in detector.stages()
        }

    def __enter__(self) -> Callable[[Epoch], None]:
        self._progress.start()
        return self._move

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _move(self, epoch: Epoch) -> None:
        task = self._tasks[epoch.stage]
        said = "loss" if epoch.held_out_loss is None else "held-out loss"
        loss = epoch.loss if epoch.held_out_loss is None else epoch.held_out_loss
        self._progress.start_task(task)
        text = f"{epoch.stage}: {said} {loss:.5f}"
        self._progress.update(task, completed=epoch.place, description=text)
