"""``triage train``: from a folder of pictures and a training file to an artifact."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn, TimeRemainingColumn

import models
from models import artifact
from models.artifact import Card, Evaluation, Fingerprint, Source
from models.calibrate import Calibration, calibrate
from models.checkpoint import WrongRun
from models.curves import Epoch, best
from models.fit import Images, epochs_of, fit
from models.readme import readme
from triage import settings
from triage.commands.measure import BATCH, Prepared, measure, prepare, scores
from triage.commands.training_plan import (
    Picture,
    Role,
    Training,
    read_pictures,
    read_training,
    share_out,
)
from triage.errors import ConfigError

if TYPE_CHECKING:
    from models.contract import Detector
    from triage.settings import Recipe


def train(
    config: Path,
    *,
    data: Path | None = None,
    runs: Path = Path("runs"),
    resume: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Train, calibrate and measure one detector, and tell where its artifact is and how good.

    ``data`` is a folder with split.csv, else TRIAGE_TRAIN_DATA names it, else the training file;
    ``runs`` gets NAME-VERSION/ with checkpoint, curves and artifact/. With ``resume`` a run that
    was killed is carried on. On a terminal a bar is drawn.

    Raises:
        ConfigError: the training file or split.csv is wrong, or a patient would have two roles.
    """
    training = read_training(config)
    recipe = _recipe(training)
    shared = share_out(read_pictures(_folder(data, training)), training.data, training.plan.seed)
    run = runs / f"{training.name}-{training.version}"
    roles = {role: prepare(pictures, recipe) for role, pictures in shared.items()}
    detector = _new(training, device)
    history = _fit(detector, roles, training, run, resume=resume)
    calibration = _calibrate(detector, roles[Role.CALIBRATION], training)
    card = Card(
        name=training.name,
        family=training.family,
        version=training.version,
        params=detector.params,
        recipe=recipe.model_dump(mode="json"),
        fingerprint=_fingerprint(training, shared, history),
        evaluations=_evaluate(detector, calibration, roles, training),
        intended_use=training.intended_use,
        limitations=training.limitations,
        licences=tuple(f"{k}: {s.licence}" for k, s in training.data.subsets.items() if s.train),
    )
    folder = artifact.save(run / "artifact", detector, card, calibration, readme(card))
    return {
        "artifact": str(folder),
        "epochs": len(history),
        "evaluations": [evaluation.model_dump(mode="json") for evaluation in card.evaluations],
    }


def _folder(data: Path | None, training: Training) -> Path:
    named = os.environ.get("TRIAGE_TRAIN_DATA")
    folder = data or (Path(named) if named else training.data.folder)
    if folder is None:
        msg = "data.folder: no image folder; name it with --data or TRIAGE_TRAIN_DATA"
        raise ConfigError(msg)
    return folder


def _fit(
    detector: "Detector",
    roles: Mapping[Role, Prepared],
    training: Training,
    run: Path,
    *,
    resume: bool,
) -> tuple[Epoch, ...]:
    learnt_from = roles[Role.TRAIN]
    repeats = [training.data.subsets[picture.subset].repeat for picture in learnt_from.pictures]
    shown = learnt_from.voxels.repeat_interleave(torch.tensor(repeats), 0)
    images = Images(shown, roles[Role.HELD_OUT].voxels)
    try:
        with _bar(training, detector) as progress:
            history = fit(detector, images, training.plan, run, resume=resume, progress=progress)
    except WrongRun as why:
        msg = str(why)
        raise ConfigError(msg) from None
    device = next(detector.parameters()).device
    detector.settle(batch.to(device) for batch in torch.split(images.train, BATCH))
    return history


def _recipe(training: Training) -> "Recipe":
    try:
        return settings.load().recipes[training.recipe]
    except KeyError:
        msg = f"recipe: no configs/recipes/{training.recipe}.yaml"
        raise ConfigError(msg) from None


def _new(training: Training, device: str) -> "Detector":
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.plan.seed)
        try:
            return models.load(training.family)(**training.params).to(device)
        except (models.UnknownDetector, TypeError) as why:
            msg = f"family, params: {why}"
            raise ConfigError(msg) from None


def _calibrate(detector: "Detector", healthy: Prepared, training: Training) -> Calibration:
    strata: dict[str, list[float]] = {training.data.pooled: []}
    for picture, score in zip(healthy.pictures, scores(detector, healthy.voxels), strict=True):
        strata.setdefault(training.data.subsets[picture.subset].stratum, []).append(score)
        strata[training.data.pooled].append(score)
    return calibrate(strata)


def _evaluate(
    detector: "Detector",
    calibration: Calibration,
    roles: Mapping[Role, Prepared],
    training: Training,
) -> tuple[Evaluation, ...]:
    train_images, tests = roles[Role.TRAIN].voxels, roles[Role.TEST]
    found = []
    for name, subset in training.data.subsets.items():
        tested = tests.where(partial(_is_of, name))
        if tested.pictures:
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
            content = picture.path.read_bytes()
            digest.update(f"{role} {hashlib.sha256(content).hexdigest()}\n".encode())
            if role is not Role.TEST:
                used.add(artifact.image_digest(content))
    return Fingerprint(
        trained_on=_sources(shared[Role.TRAIN], training),
        held_out=_sources(shared[Role.HELD_OUT], training),
        calibrated_on=_sources(shared[Role.CALIBRATION], training),
        seed=training.plan.seed,
        plan=training.plan.model_dump(mode="json"),
        epochs=len(history),
        best_epoch=best(history).number,
        data_sha256=digest.hexdigest(),
        images=tuple(sorted(used)),
        versions=artifact.versions(),
    )


def _sources(pictures: Sequence[Picture], training: Training) -> tuple[Source, ...]:
    found = []
    for name, subset in training.data.subsets.items():
        patients = [picture.patient for picture in pictures if picture.subset == name]
        if patients:
            found.append(
                Source(
                    name=name,
                    images=len(patients),
                    patients=len(set(patients)),
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
