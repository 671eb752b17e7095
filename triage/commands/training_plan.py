"""A detector's training file, and who of its image folder learns, waits, calibrates and tests."""

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import Field, PositiveInt, ValidationError

from models.fit import Plan
from triage.errors import ConfigError
from triage.frozen import Frozen

COLUMNS: Final = ("path", "subset", "anomaly", "split", "patient")
"""What split.csv must have; more columns are ignored."""
Share = Annotated[float, Field(gt=0, lt=0.5)]


class Role(StrEnum):
    """What an image is used for. No patient has two."""

    TRAIN = "train"
    HELD_OUT = "held out"
    CALIBRATION = "calibration"
    TEST = "test"


class Subset(Frozen):
    """One source of images."""

    stratum: str
    """Its healthy studies calibrate this stratum."""
    licence: str
    train: tuple[str, ...] = ()
    """Splits whose healthy images are shared out to training, early stop and calibration."""
    calibrate: tuple[str, ...] = ()
    """Splits whose healthy images only calibrate."""
    test: tuple[str, ...] = ()
    """Splits that only measure, healthy and abnormal."""
    repeat: PositiveInt = 1
    """How often an epoch shows each training image: for a small source beside a large one."""


class Data(Frozen):
    """Which images, and how the training splits are shared out, by patient."""

    folder: Path | None = None
    """Holds split.csv and the images; --data and TRIAGE_TRAIN_DATA win over it."""
    subsets: dict[str, Subset]
    pooled: str
    """The stratum that all calibration images together make."""
    held_out: Share = 0.1
    calibration: Share = 0.2


class Training(Frozen):
    """configs/detectors/NAME.yaml."""

    name: str
    version: str
    family: str
    params: dict[str, Any]
    recipe: str
    data: Data
    plan: Plan = Plan()
    alphas: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.02, 0.05)
    """Where sensitivity and false flags are measured."""
    intended_use: str
    limitations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """One line of split.csv."""

    path: Path
    subset: str
    split: str
    abnormal: bool
    patient: str
    """The path where the source knows no patients."""


def read_training(config: Path) -> Training:
    """Read a detector's training file.

    Raises:
        ConfigError: it is missing, no YAML, or a key is unknown or wrong.
    """
    try:
        return Training.model_validate(yaml.safe_load(config.read_text(encoding="utf-8")))
    except OSError as why:
        msg = f"cannot read {config}: {why.strerror}"
    except yaml.YAMLError as why:
        msg = f"{config} is not valid YAML: {str(why).splitlines()[0]}"
    except ValidationError as why:
        first = why.errors(include_input=False, include_url=False)[0]
        msg = f"{config}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    raise ConfigError(msg)


def read_pictures(folder: Path) -> tuple[Picture, ...]:
    """Read the folder's split.csv, its lines in order.

    Raises:
        ConfigError: there is no split.csv, or it lacks a column.
    """
    try:
        with (folder / "split.csv").open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except OSError as why:
        msg = f"cannot read {folder / 'split.csv'}: {why.strerror}; name the folder with --data"
        raise ConfigError(msg) from None
    if missing := set(COLUMNS) - set(lines[0] if lines else ()):
        msg = f"{folder / 'split.csv'} lacks: {', '.join(sorted(missing))}"
        raise ConfigError(msg)
    return tuple(
        Picture(
            path=folder / line["path"],
            subset=line["subset"],
            split=line["split"],
            abnormal=line["anomaly"] != "0",
            patient=line["patient"] or line["path"],
        )
        for line in lines
    )


def share_out(
    pictures: tuple[Picture, ...], data: Data, seed: int
) -> Mapping[Role, tuple[Picture, ...]]:
    """Give every role its images. All but the tests are healthy.

    Raises:
        ConfigError: a patient has two roles, or a role would have no image.
    """
    shared: dict[Role, list[Picture]] = {role: [] for role in Role}
    for picture in pictures:
        subset = data.subsets.get(picture.subset)
        role = _role(picture, subset, data, seed) if subset else None
        if role:
            shared[role].append(picture)
    _refuse_leaks(shared)
    return {role: tuple(found) for role, found in shared.items()}


def _role(picture: Picture, subset: Subset, data: Data, seed: int) -> Role | None:
    if picture.split in subset.test:
        return Role.TEST
    if picture.abnormal or picture.split not in (*subset.train, *subset.calibrate):
        return None
    if picture.split in subset.calibrate:
        return Role.CALIBRATION
    # By a hash, so that a patient keeps its place when others come or go.
    digest = hashlib.sha256(f"{seed}/{picture.patient}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < data.held_out:
        return Role.HELD_OUT
    return Role.CALIBRATION if place < data.held_out + data.calibration else Role.TRAIN


def _refuse_leaks(shared: Mapping[Role, list[Picture]]) -> None:
    seen: dict[str, Role] = {}
    leaks = set()
    for role, pictures in shared.items():
        if not pictures:
            msg = f"no image is left for {role}; look at the subsets' splits"
            raise ConfigError(msg)
        for picture in pictures:
            if seen.setdefault(picture.patient, role) is not role:
                leaks.add(frozenset({role, seen[picture.patient]}))
    if leaks:
        pairs = "; ".join(" and ".join(sorted(pair)) for pair in leaks)
        msg = f"patients are shared between {pairs}: correct split.csv before training"
        raise ConfigError(msg)
