"""The images of a training: gathered from its sources, checked, prepared as for serving.

Shapes: N images, C channels, H W rows and columns.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from models.fit import Labels
from triage.commands.measure import Prepared, prepare, scores
from triage.commands.training_cohort import COHORT, read_cohort, series_of
from triage.commands.training_pictures import Picture, read_pictures
from triage.commands.training_plan import Role, Training
from triage.errors import CodedError, ConfigError
from triage.preprocess.decoder import Decoder
from triage.preprocess.pipeline import preprocess

if TYPE_CHECKING:
    from models.contract import Detector
    from triage.settings import Recipe, Settings

CLASSES: Final = (("organ", "organs"), ("modality", "modalities"))
"""A subset's key, and the family's parameter that lists what may stand there."""


def gather(training: Training, data: Path | None) -> tuple[Picture, ...]:
    """Give every line of every source, as the training file's subsets see it.

    ``data``, else TRIAGE_TRAIN_DATA, else the training file names the data folder.

    Raises:
        ConfigError: no folder is named, a file or line is wrong, or a subset or split is not in
            its file.
    """
    found: list[Picture] = []
    for name, subset in training.data.subsets.items():
        folder = _folder(data, training, name)
        if (folder / COHORT).is_file():
            lines = tuple(replace(one, subset=name) for one in read_cohort(folder))
        else:
            lines = read_pictures(folder, subset.dialect(name))
        own = [line for line in lines if line.subset == name]
        if not own:
            msg = (
                f"{training.file}: data.subsets.{name}: no line of {folder} has this subset; "
                "correct the name"
            )
            raise ConfigError(msg)
        _require_splits(training, name, own)
        found += own
    _refuse_twice(found)
    return tuple(found)


def prepare_roles(
    shared: Mapping[Role, Sequence[Picture]], training: Training, settings: "Settings"
) -> Mapping[Role, Prepared]:
    """Read and prepare the images of every role by the code that prepares received studies.

    A series gives a voxel image a slice, each beside its series. On a terminal a bar is drawn.

    Raises:
        ConfigError: an image is missing, cannot be read, was changed since its cohort was built,
            or is shown in two roles.
    """
    used = [picture for pictures in shared.values() for picture in pictures]
    _require_files(used)
    recipes = _recipes(training, settings)
    _refuse_other_recipes(used, training)
    _refuse_copies(shared)
    with ExitStack() as stack:
        decoder = stack.enter_context(Decoder(settings.site.decode))
        moved = stack.enter_context(_bar(len(used)))
        return {
            role: _prepare(pictures, lambda one: recipes[one.subset], decoder, moved)
            for role, pictures in shared.items()
        }


def labels_of(pictures: Sequence[Picture], training: Training) -> Labels:
    """Give organ and modality of each image as indices into ``params.organs`` and ``.modalities``.

    None where the family has no such list.

    Raises:
        ConfigError: the list is there, and a subset that trains names none of it.
    """
    organ_N, modality_N = (_classes(pictures, training, *pair) for pair in CLASSES)
    return Labels(organ_N, modality_N)


def strangest(detector: "Detector", prepared: Prepared) -> tuple[Prepared, list[float]]:
    """Give of every picture or series its strangest slice, as in serving, and that score."""
    best: dict[Picture, tuple[float, int]] = {}
    found = scores(detector, prepared.voxels) if prepared.pictures else []
    for index, (picture, score) in enumerate(zip(prepared.pictures, found, strict=True)):
        best[picture] = max(best.get(picture, (score, -index)), (score, -index))
    chosen = [-index for _, index in best.values()]
    return Prepared(tuple(best), prepared.voxels[chosen]), [score for score, _ in best.values()]


def _folder(data: Path | None, training: Training, name: str) -> Path:
    named = os.environ.get("TRIAGE_TRAIN_DATA")
    root = data or (Path(named) if named else training.data.folder)
    own = training.data.subsets[name].folder
    if root is None and (own is None or not own.is_absolute()):
        msg = (
            f"{training.file}: data.folder: no image folder; name it with --data or "
            "TRIAGE_TRAIN_DATA"
        )
        raise ConfigError(msg)
    return (root or Path()) / (own or Path())


def _require_splits(training: Training, name: str, own: Sequence[Picture]) -> None:
    if own[0].files:
        return
    subset = training.data.subsets[name]
    there = {picture.split for picture in own}
    for key in ("train", "calibrate", "test"):
        if absent := set(getattr(subset, key)) - there:
            msg = (
                f"{training.file}: data.subsets.{name}.{key}: no line has split "
                f"{', '.join(sorted(absent))}; the splits there are {', '.join(sorted(there))}"
            )
            raise ConfigError(msg)


def _refuse_twice(found: Sequence[Picture]) -> None:
    seen: dict[Path, Picture] = {}
    for picture in found:
        first = seen.setdefault(picture.path.absolute(), picture)
        if first is not picture:
            msg = (
                f"{picture.where}: the image stands in {first.where} too; take one of the lines "
                "out (a folder without a column subset is one subset)"
            )
            raise ConfigError(msg)


def _require_files(used: Sequence[Picture]) -> None:
    for picture in used:
        for path in [one.path for one in picture.files] or [picture.path]:
            if not path.is_file():
                msg = f"{picture.where}: {path} is not there; put it back, or take the line out"
                raise ConfigError(msg)


def _recipes(training: Training, settings: "Settings") -> Mapping[str, "Recipe"]:
    """Give the recipe of each subset."""
    found = {}
    for name in training.data.subsets:
        wanted = training.recipe_of(name)
        if wanted not in settings.recipes:
            msg = f"{training.file}: recipe: no configs/recipes/{wanted}.yaml"
            raise ConfigError(msg)
        found[name] = settings.recipes[wanted]
    if len({recipe.size_px for recipe in found.values()}) > 1:
        sizes = ", ".join(f"{recipe.name} {recipe.size_px}" for recipe in found.values())
        msg = f"{training.file}: recipe: one detector sees one size, but size_px differs: {sizes}"
        raise ConfigError(msg)
    return found


def _refuse_other_recipes(used: Sequence[Picture], training: Training) -> None:
    for picture in used:
        wanted = training.recipe_of(picture.subset)
        if picture.files and picture.recipe != wanted:
            msg = (
                f"{picture.where}: the series was chosen for recipe {picture.recipe}, but "
                f"{training.file}: data.subsets.{picture.subset} is trained by {wanted}; say "
                f"recipe: {picture.recipe} there, or build a cohort of the other route"
            )
            raise ConfigError(msg)


def _refuse_copies(shared: Mapping[Role, Sequence[Picture]]) -> None:
    """Refuse the same bytes in two roles; of a series, the same prepared pixels, which it says."""
    seen: dict[str, tuple[Role, Picture]] = {}
    for role, pictures in shared.items():
        for picture in pictures:
            first_role, first = seen.setdefault(_content(picture), (role, picture))
            if first_role is not role:
                msg = (
                    f"{picture.where} ({role}) and {first.where} ({first_role}) hold the same "
                    "picture; take one of the lines out"
                )
                raise ConfigError(msg)


def _content(picture: Picture) -> str:
    return picture.pixels or hashlib.sha256(picture.path.read_bytes()).hexdigest()


def _prepare(
    pictures: Sequence[Picture],
    recipe_of: Callable[[Picture], "Recipe"],
    decoder: Decoder,
    moved: Callable[[], None],
) -> Prepared:
    shown: list[Picture] = []
    voxels: list[Tensor] = []
    for picture in pictures:
        voxels.append(_voxels(picture, recipe_of(picture), decoder))
        shown += [picture] * len(voxels[-1])
        moved()
    return Prepared(tuple(shown), torch.cat(voxels) if voxels else torch.empty(0))


def _voxels(picture: Picture, recipe: "Recipe", decoder: Decoder) -> Tensor:
    """Give the slices of one picture or series, NCHW."""
    try:
        if picture.files:
            found = preprocess(series_of(picture), recipe, decoder).voxels_NCHW
        else:
            found = prepare((picture,), recipe).voxels
    except CodedError as why:
        msg = f"{picture.where}: {why.reason}; take the series out, or build the cohort again"
        raise ConfigError(msg) from None
    if not torch.isfinite(found).all():
        msg = f"{picture.where}: a pixel is no number; mend the image, or take its line out"
        raise ConfigError(msg)
    return found


def _classes(
    pictures: Sequence[Picture], training: Training, key: str, listed: str
) -> Tensor | None:
    known = training.params.get(listed)
    if not isinstance(known, list):
        return None
    index = {}
    for name in {picture.subset for picture in pictures}:
        word = getattr(training.data.subsets[name], key)
        if word not in known:
            names = ", ".join(map(str, known))
            msg = (
                f"{training.file}: data.subsets.{name}.{key}: name one of params.{listed} ({names})"
            )
            raise ConfigError(msg)
        index[name] = known.index(word)
    return torch.tensor([index[picture.subset] for picture in pictures], dtype=torch.int64)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], None]]:
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("preparing images", total=total)
        yield lambda: progress.advance(task)
