"""A trained detector as a folder: weights, card, calibration, a page for people, checksums.

    weights.safetensors   tensors only, never pickle
    card.json             what it is, how it was trained, how good it is: ``Card``
    calibration.json      scores of healthy studies: ``Calibration``
    README.md             the model card for people
    references.safetensors  may be there: healthy images to compare with (``References``)
    MANIFEST.sha256       sha256sum's format, over the files above
    MANIFEST.sha256.sig   may be there: a signature of the manifest

Nothing is read from the folder before every checksum held and nothing else lies in it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

import models
from models import manifest
from models.calibrate import Calibration
from models.contract import Detector
from models.files import sha256, write_atomically
from models.manifest import (
    CALIBRATION,
    CARD,
    FILES,
    MANIFEST,
    OPTIONAL,
    README,
    REFERENCES,
    SIGNATURE,
    WEIGHTS,
    BadArtifact,
)
from models.references import BadReferences, References, unpack

__all__ = ["CALIBRATION", "CARD", "FILES", "MANIFEST", "README", "WEIGHTS", "BadArtifact"]
"""What is here from another file: an artifact is read and written in one place."""
DIGEST: Final = 16
"""Hexadecimal digits by which an image is known again."""
Noun = TypeVar("Noun", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Strict):
    """One data set the detector learnt from or was calibrated on: counts and terms."""

    name: str
    images: int
    patients: int
    licence: str


class Fingerprint(_Strict):
    """What went into the training, enough to repeat it."""

    trained_on: tuple[Source, ...]
    held_out: tuple[Source, ...]
    calibrated_on: tuple[Source, ...]
    calibration_date: str = ""
    """ISO 8601, UTC; empty in cards that are older than this field."""
    seed: int
    plan: dict[str, Any]
    """The fields of ``models.fit.Plan``."""
    epochs: int
    """How many were run."""
    best_epoch: int
    data_sha256: str
    """Over the names and split of every image used."""
    images: tuple[str, ...] = ()
    """What ``image_digest`` gives of every image that taught, stopped or calibrated, sorted; none
    in cards that are older than this field."""
    versions: dict[str, str]


class Figure(_Strict):
    """One measured number with its interval."""

    value: float
    low: float
    high: float
    """The interval's ends; its confidence is in ``Evaluation.confidence``."""


class Evaluation(_Strict):
    """How the detector did on one labelled test set that chose nothing."""

    name: str
    stratum: str
    healthy: int
    abnormal: int
    confidence: float
    auroc: Figure
    sensitivity: dict[str, Figure]
    """By alpha: share of the abnormal with p <= alpha."""
    false_flags: dict[str, Figure]
    """By alpha: share of the healthy with p <= alpha."""
    baselines: dict[str, float]
    """AUROC of trivial scores on the same images, each in its better direction."""


class Card(_Strict):
    """The machine's model card."""

    name: str
    family: str
    """Key of ``models.DETECTORS``."""
    version: str
    params: dict[str, Any]
    recipe: dict[str, Any]
    """How the pixels were prepared, with the recipe's name."""
    recipes: dict[str, dict[str, Any]] = Field(default={})
    """By stratum, where its images were prepared otherwise."""
    fingerprint: Fingerprint
    evaluations: tuple[Evaluation, ...]
    intended_use: str
    limitations: tuple[str, ...]
    licences: tuple[str, ...]

    def recipe_for(self, strata: Sequence[str]) -> dict[str, Any]:
        """Give how a study is prepared; ``strata`` are its own, the most specific first."""
        return next((self.recipes[one] for one in strata if one in self.recipes), self.recipe)


@dataclass(frozen=True)
class Artifact:
    """A detector ready to score, with all that is known about it."""

    folder: Path
    card: Card
    calibration: Calibration
    detector: Detector
    weights_sha256: str
    calibration_sha256: str
    sha256: str
    """Of the manifest, hence of everything."""
    references: References | None = None
    """Healthy images to compare with, where the site asked for them."""


def save(
    folder: Path, detector: Detector, card: Card, calibration: Calibration, readme: str,
    references: bytes | None = None,
) -> Path:  # fmt: skip
    """Write the artifact's files, the manifest last, and give the folder.

    A signature of what was there before goes: it is not of this.

    Raises:
        FileExistsError: something else lies in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = {*FILES, *OPTIONAL, MANIFEST, SIGNATURE}
    if strangers := {path.name for path in folder.iterdir()} - known:
        msg = f"{folder} holds other files ({', '.join(sorted(strangers))}); give an empty folder"
        raise FileExistsError(msg)
    for name in (MANIFEST, SIGNATURE, *OPTIONAL):
        (folder / name).unlink(missing_ok=True)
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in detector.state_dict().items()
    }
    contents = {
        WEIGHTS: save_tensors(tensors),
        CARD: _json(card),
        CALIBRATION: _json(calibration),
        README: readme.encode(),
    } | ({} if references is None else {REFERENCES: references})
    for name, content in contents.items():
        write_atomically(folder / name, content)
    write_atomically(folder / MANIFEST, manifest.write(contents))
    return folder


def load(folder: Path) -> Artifact:
    """Check every byte, then build the detector in evaluation mode, on the CPU, without gradients.

    Raises:
        BadArtifact: a file is missing, unknown or changed, or does not say what it must.
    """
    listed, contents = manifest.read(folder)
    card = _parse(Card, contents[CARD], CARD)
    calibration = _parse(Calibration, contents[CALIBRATION], CALIBRATION)
    return Artifact(
        folder=folder,
        card=card,
        calibration=calibration,
        detector=_build(card, contents[WEIGHTS]),
        weights_sha256=sha256(contents[WEIGHTS]),
        calibration_sha256=sha256(contents[CALIBRATION]),
        sha256=sha256(listed),
        references=_references(contents.get(REFERENCES)),
    )


def image_digest(content: bytes) -> str:
    """Give the first 64 bits of a file's SHA-256: enough to know an image again, no more."""
    return sha256(content)[:DIGEST]


def versions() -> dict[str, str]:
    """Give the versions of the libraries that decide the numbers."""
    return {name: version(name) for name in ("monai", "numpy", "safetensors", "torch")}


def _json(noun: BaseModel) -> bytes:
    return (json.dumps(noun.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()


def _parse(model: type[Noun], content: bytes, name: str) -> Noun:
    try:
        return model.model_validate_json(content)
    except ValidationError as why:
        first = why.errors(include_input=False, include_url=False)[0]
        msg = f"{name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise BadArtifact(msg) from None


def _references(content: bytes | None) -> References | None:
    try:
        return None if content is None else unpack(content)
    except BadReferences as why:
        msg = f"{REFERENCES}: {why}"
        raise BadArtifact(msg) from None


def _build(card: Card, weights: bytes) -> Detector:
    try:
        detector = models.load(card.family)(**card.params)
        detector.load_state_dict(load_tensors(weights))
    except (models.UnknownDetector, TypeError, SafetensorError, RuntimeError) as why:
        msg = f"{card.name}: the weights do not fit the card: {str(why).splitlines()[0]}"
        raise BadArtifact(msg) from None
    return detector.eval().requires_grad_(requires_grad=False)
