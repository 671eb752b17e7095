"""``triage evaluate``: what a packed detector is worth on a labelled folder it has not seen."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from models import artifact
from models.artifact import Artifact, BadArtifact
from models.calibrate import Place, Rule, Uncalibrated
from models.contract import Detector
from triage.commands.calibrate_sources import site_of
from triage.commands.evaluate_deletion import deletion
from triage.commands.evaluate_page import page
from triage.commands.evaluation import Deleted, Report, Result, Scored, judge, score, trivial_scores
from triage.commands.measure import BATCH, Prepared, prepare
from triage.commands.training_plan import Picture, read_pictures
from triage.commands.unseen import require_unseen
from triage.errors import ConfigError
from triage.settings import Recipe

TESTED: Final = "test"
"""Splits whose name begins so are measured, unless others are named."""
Moved = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Question:
    """What to measure on, and how."""

    data: Path
    """Holds split.csv and the pictures."""
    subsets: tuple[str, ...] = ()
    """All, when none is named."""
    splits: tuple[str, ...] = ()
    """Those whose name begins with "test", when none is named."""
    stratum: str | None = None
    """None: the one that the card names for the subset, else the one with most scores."""
    alpha: float = 0.05
    device: str = "auto"
    deletion: bool = False
    """Also replace each picture's strangest region, and look whether the score falls."""


def evaluate(folder: Path, question: Question, *, out: Path | None = None) -> Report:
    """Measure an artifact; with ``out``, write report.json and report.html there.

    Nothing with a patient's picture is written unless ``out`` says where. On a terminal a bar is
    drawn.

    Raises:
        ConfigError: the artifact is damaged or not calibrated, a split lacks a label, a picture
            cannot be read, or the detector was trained on some of them.
    """
    loaded = _load(folder)
    device = _to(loaded.detector, question.device)
    everything = read_pictures(question.data)
    tested = choose(everything, question)
    pictures = [one for part in tested for one in part]
    checked = require_unseen(loaded.card, pictures, everything, loaded.calibration.images)
    strata = [stratum_of(loaded, part[0].subset, question.stratum) for part in tested]
    found: list[tuple[Result, Scored]] = []
    deletions: list[Deleted] = []
    seconds = 0.0
    with _bar(loaded.card.name, sum(map(len, tested))) as moved:
        for part, stratum in zip(tested, strata, strict=True):
            recipe = _recipe(loaded, stratum)
            prepared = _prepare(part, recipe, moved)
            began = time.perf_counter()
            scored = score(loaded, prepared, moved)
            seconds += time.perf_counter() - began
            near = _learnt_beside(everything, part[0].subset)
            trivial = trivial_scores(prepared, prepare(near, recipe).voxels if near else None)
            judged = _judge(scored, loaded, stratum, question.alpha, trivial)
            found.append((judged, scored))
            if question.deletion:
                deletions.append(deletion(scored, loaded, judged.threshold))
    report = Report(
        name=loaded.card.name,
        version=loaded.card.version,
        family=loaded.card.family,
        artifact_sha256=loaded.sha256,
        data=str(question.data),
        checked=checked,
        device=device,
        images_per_second=sum(map(len, tested)) / max(seconds, 1e-9),
        results=tuple(result for result, _ in found),
        intended_use=loaded.card.intended_use,
        deletions=tuple(deletions),
    )
    if out is not None:
        _write(out, report, loaded, [scored for _, scored in found])
    return report


def choose(everything: Sequence[Picture], question: Question) -> tuple[tuple[Picture, ...], ...]:
    """Give the pictures to measure on, by subset, both labels in each.

    Raises:
        ConfigError: a subset or split is not there, or lacks healthy or abnormal pictures.
    """
    there = {one.subset for one in everything}
    if unknown := set(question.subsets) - there:
        msg = (
            f"no subset {_list(unknown)} in split.csv, only {_list(there)}; name one with --subset"
        )
        raise ConfigError(msg)
    wanted = [one for one in everything if not question.subsets or one.subset in question.subsets]
    splits = {one.split for one in wanted}
    chosen = set(question.splits) or {one for one in splits if one.startswith(TESTED)}
    if not chosen or chosen - splits:
        missing = _list(chosen - splits) or f"beginning with {TESTED!r}"
        msg = f"no split {missing} in split.csv, only {_list(splits)}; name one with --split"
        raise ConfigError(msg)
    by_subset: dict[str, list[Picture]] = {}
    for one in wanted:
        if one.split in chosen:
            by_subset.setdefault(one.subset, []).append(one)
    for subset, pictures in by_subset.items():
        _require_both(subset, chosen, pictures)
    return tuple(tuple(pictures) for pictures in by_subset.values())


def stratum_of(loaded: Artifact, subset: str, named: str | None) -> str:
    """Give the stratum to take p-values in.

    Raises:
        ConfigError: there is no calibration, or not this stratum; or it knows the sites it is of,
            the subset is none of them, and nobody ``named`` it all the same.
    """
    strata = loaded.calibration.strata
    if not any(strata.values()):
        msg = (
            f"{loaded.folder / artifact.CALIBRATION} holds no healthy score, so there is no "
            "threshold; train again with calibration pictures"
        )
        raise ConfigError(msg)
    if named is None:
        known = {one.name: one.stratum for one in loaded.card.evaluations}
        named = known.get(subset) or max(strata, key=lambda one: len(strata[one]))
        _require_site(loaded, subset, named)
    if not strata.get(named):
        msg = (
            f"{loaded.folder / artifact.CALIBRATION} has no healthy score of stratum {named!r}, "
            f"only of {_list(strata)}; name one with --stratum"
        )
        raise ConfigError(msg)
    return named


def _require_site(loaded: Artifact, subset: str, stratum: str) -> None:
    """Refuse a source that the calibration has not seen, as serving does."""
    try:
        loaded.calibration.stratum_at(Place((stratum,), {"site": site_of(subset)}), Rule())
    except Uncalibrated:
        msg = (
            f"subset {subset!r} is uncalibrated: {loaded.folder / artifact.CALIBRATION} is of "
            f"other sites. Run triage calibrate on its own healthy studies, or measure it against "
            f"theirs with --stratum {stratum}"
        )
        raise ConfigError(msg) from None


def _load(folder: Path) -> Artifact:
    try:
        return artifact.load(folder)
    except (BadArtifact, OSError) as why:
        raise ConfigError(str(why)) from None


def _to(detector: Detector, device: str) -> str:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    detector.to(device)
    return device


def _recipe(loaded: Artifact, stratum: str) -> Recipe:
    try:
        return Recipe.model_validate(loaded.card.recipe_for((stratum,)))
    except ValidationError as why:
        first = why.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        msg = f"{loaded.folder / artifact.CARD}: recipe.{field}: {first['msg']}; train again"
        raise ConfigError(msg) from None


def _prepare(pictures: tuple[Picture, ...], recipe: Recipe, moved: Moved) -> Prepared:
    voxels = []
    for start in range(0, len(pictures), BATCH):
        voxels.append(prepare(pictures[start : start + BATCH], recipe).voxels)
        moved(len(voxels[-1]))
    return Prepared(pictures, torch.cat(voxels))


def _learnt_beside(everything: Sequence[Picture], subset: str) -> tuple[Picture, ...]:
    """Give the healthy training pictures of the folder, that the nearest thumbnails compare to."""
    return tuple(
        one
        for one in everything
        if one.subset == subset and one.split == "train" and not one.abnormal
    )


def _judge(
    scored: Scored, loaded: Artifact, stratum: str, alpha: float, trivial: dict[str, float]
) -> Result:
    try:
        return judge(scored, loaded.calibration, stratum, alpha, trivial)
    except (Uncalibrated, ValueError) as why:
        msg = f"{loaded.folder}: {why}"
        raise ConfigError(msg) from None


def _require_both(subset: str, splits: set[str], pictures: Sequence[Picture]) -> None:
    for abnormal, word in ((False, "healthy (anomaly 0)"), (True, "abnormal (anomaly 1)")):
        if not any(one.abnormal is abnormal for one in pictures):
            msg = (
                f"split.csv: subset {subset!r}, split {_list(splits)} has no {word} picture; "
                "both are needed to measure: name another --subset or --split"
            )
            raise ConfigError(msg)


def _list(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))


def _write(out: Path, report: Report, loaded: Artifact, scored: Sequence[Scored]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(report.model_dump_json(indent=1) + "\n", "utf-8")
        (out / "report.html").write_text(page(report, loaded.detector, scored), "utf-8")
    except OSError as why:
        msg = f"cannot write into {out}: {why.strerror}; name another folder with --out"
        raise ConfigError(msg) from None


@contextmanager
def _bar(name: str, pictures: int) -> Iterator[Moved]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with Progress(console=console) as progress:
        task = progress.add_task(name, total=2 * pictures)
        yield lambda done: progress.update(task, advance=done)
