"""Scores of healthy studies, by the code that serves; what was scored is remembered.

A run that was killed goes on: each study's score is on disk before the next is begun.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn, TimeRemainingColumn

from models.calibrate import aggregate
from models.healthy import Healthy
from triage.commands.calibrate_sources import Normal
from triage.detect import score_slices
from triage.errors import CodedError, ConfigError, TryAgain
from triage.preprocess.decoder import Decoder
from triage.settings import Recipe

if TYPE_CHECKING:
    from models.artifact import Artifact
    from models.contract import Volume
    from triage.settings import Settings

JOURNAL: Final = "scored.jsonl"


@dataclass(frozen=True, slots=True)
class Scored:
    """What one healthy series or picture came to."""

    score: float
    images: int
    peak: float | None


def score_all(
    loaded: "Artifact",
    normals: Sequence[Normal],
    settings: "Settings",
    folder: Path,
    aggregation: str,
) -> tuple[Healthy, ...]:
    """Score every series or picture.

    ``folder`` keeps the journal. On a terminal a bar is drawn.

    Raises:
        ConfigError: an image cannot be prepared, or a score is no number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / JOURNAL, _identity(loaded, aggregation))
    healthy = []
    with Decoder(settings.site.decode) as decoder, _bar(loaded.card.name, len(normals)) as moved:
        for one in normals:
            found = journal.known(one)
            if found is None:
                found = _score(loaded, one, decoder, aggregation)
                journal.note(one, found)
            healthy.append(
                Healthy(one.patient, one.study, found.score, one.place, found.images, found.peak)
            )
            next(moved)
    return tuple(healthy)


def _identity(loaded: "Artifact", aggregation: str) -> str:
    """Name what else decides a score: weights, parameters, recipes."""
    card = loaded.card
    said = [loaded.weights_sha256, card.params, card.recipe, card.recipes, aggregation]
    return json.dumps(said, sort_keys=True)


def _score(loaded: "Artifact", one: Normal, decoder: Decoder, aggregation: str) -> Scored:
    with spoken_of(loaded, one):
        anomaly = score_slices(prepared(loaded, one, decoder), loaded, maps=True)
    peak = None if anomaly.map_NHW is None else float(anomaly.map_NHW.max())
    return Scored(
        score=aggregate(anomaly.score_N.tolist(), aggregation),
        images=len(one.content),
        peak=peak,
    )


def prepared(loaded: "Artifact", one: Normal, decoder: Decoder) -> "Volume":
    """Give a healthy series or picture as the detector was trained on such."""
    return one.volume(Recipe.model_validate(loaded.card.recipe_for(one.place.base)), decoder)


@contextmanager
def spoken_of(loaded: "Artifact", one: Normal) -> Iterator[None]:
    """Say of what is done within which study it could not be done with, and what to do.

    Raises:
        ConfigError: instead of the reason.
    """
    try:
        yield
    except TryAgain as why:
        msg = f"{one.where}: {why}; start the command again, it goes on where it was"
        raise ConfigError(msg) from None
    except CodedError as why:
        msg = (
            f"{one.where}: {why.reason}; mend the image or take the study out, and if every "
            f"study fails, detector {loaded.card.name} is broken: train it again"
        )
        raise ConfigError(msg) from None


class Journal:
    """The scores found so far, a line each; a line cut short by a kill is scored again."""

    def __init__(self, path: Path, identity: str) -> None:
        """Read what a run of the same detector left."""
        self._path, self._identity = path, identity
        self._known = dict(self._read())

    def known(self, one: Normal) -> Scored | None:
        """Give what these very images came to before."""
        return self._known.get(self._key(one))

    def note(self, one: Normal, found: Scored) -> None:
        """Remember it; on disk when this returns."""
        line = json.dumps([self._key(one), found.score, found.images, found.peak])
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())

    def _key(self, one: Normal) -> str:
        return hashlib.sha256("\n".join([self._identity, *one.content]).encode()).hexdigest()

    def _read(self) -> Iterator[tuple[str, Scored]]:
        if not self._path.is_file():
            return
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            self._path.write_bytes(whole)
        for line in whole.splitlines():
            key, score, images, peak = json.loads(line)
            yield key, Scored(score, images, peak)


@contextmanager
def _bar(name: str, total: int) -> Iterator[Iterator[None]]:
    """Give what to step once a study."""
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:3], TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{name}: healthy studies", total=total)

        def steps() -> Iterator[None]:
            while True:
                progress.advance(task)
                yield

        yield steps()
