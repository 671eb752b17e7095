"""A detector's training file, and who of its images learns, waits, calibrates and tests."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field, PositiveInt, PrivateAttr, ValidationError

from models.fit import Plan
from triage import yaml_text
from triage.commands.training_pictures import Dialect, Picture, read_pictures
from triage.errors import ConfigError
from triage.frozen import Frozen

__all__: Final = [
    "COHORT_ROLES", "Data", "Picture", "Role", "Subset", "Training", "read_pictures",
    "read_training", "share_out",
]  # fmt: skip
Share = Annotated[float, Field(gt=0, lt=0.5)]


class Role(StrEnum):
    """What an image is used for. No patient has two."""

    TRAIN = "train"
    HELD_OUT = "held out"
    CALIBRATION = "calibration"
    TEST = "test"


COHORT_ROLES: Final[Mapping[str, Role]] = {
    "train": Role.TRAIN,
    "early-stop": Role.HELD_OUT,
    "calibration": Role.CALIBRATION,
    "test": Role.TEST,
}
"""A cohort's splits are roles already."""


class Subset(Frozen):
    """One source of images: some lines of a split.csv, a whole one, or a cohort."""

    stratum: str
    """Its healthy studies calibrate this stratum; a cohort's series name their own, below it."""
    licence: str
    folder: Path | None = None
    """Below the data folder, or absolute; None is the data folder itself."""
    patient_column: str | None = None
    """Of its split.csv; by default "patient", else "group"."""
    labels: dict[str, Literal["healthy", "abnormal"]] = Field(default={})
    """What the values of its column ``label`` mean; any other value stops the training."""
    recipe: str | None = None
    """Instead of the training file's; of the same size."""
    organ: str | None = None
    """One of ``params.organs``, in a family that has them."""
    modality: str | None = None
    """One of ``params.modalities``."""
    pooled: str | None = None
    """Instead of the data's."""
    train: tuple[str, ...] = ()
    """Splits whose healthy images are shared out to training, early stop and calibration."""
    calibrate: tuple[str, ...] = ()
    """Splits whose healthy images only calibrate."""
    test: tuple[str, ...] = ()
    """Splits that only measure, healthy and abnormal."""
    repeat: PositiveInt = 1
    """How often an epoch shows each training image: for a small source beside a large one."""

    def dialect(self, name: str) -> Dialect:
        """Give how its split.csv is read, ``name`` being its own."""
        meant = {label: word == "abnormal" for label, word in self.labels.items()}
        return Dialect(self.patient_column, name, meant)


class Data(Frozen):
    """Which images, and how the training splits are shared out, by patient."""

    folder: Path | None = None
    """Holds the subsets' folders, or split.csv and the images; --data and TRIAGE_TRAIN_DATA win
    over it."""
    subsets: dict[str, Subset] = Field(min_length=1)
    """By name: what the column ``subset`` says, where the folder has that column."""
    pooled: str
    """The stratum that all calibration images together make, but for subsets with another."""
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

    _file: Path = PrivateAttr(default=Path())

    @property
    def file(self) -> Path:
        """Give the file it was read from, for messages."""
        return self._file

    def recipe_of(self, subset: str) -> str:
        """Give the name of a subset's recipe."""
        return self.data.subsets[subset].recipe or self.recipe


def read_training(config: Path) -> Training:
    """Read a detector's training file.

    Raises:
        ConfigError: it is missing, no YAML, or a key is unknown or wrong; with the line.
    """
    try:
        text = config.read_text(encoding="utf-8")
        training = Training.model_validate(yaml_text.read(text))
    except OSError as why:
        msg = f"cannot read {config}: {why.strerror}"
    except yaml.YAMLError as why:
        mark = getattr(why, "problem_mark", None)
        line = "" if mark is None else f" line {mark.line + 1}"
        msg = f"{config}{line} is not valid YAML: {str(why).splitlines()[0]}"
    except UnicodeDecodeError:
        msg = f"{config} is no text in UTF-8; save it as one"
    except ValidationError as why:
        first = why.errors(include_input=False, include_url=False)[0]
        said = "no such key; correct or remove it" if _is_unknown(first["type"]) else first["msg"]
        key = ".".join(map(str, first["loc"]))
        msg = f"{config}{_line_of(text, first['loc'])}: {key}: {said}"
    else:
        training._file = config  # noqa: SLF001 - pydantic takes no private attribute otherwise
        return training
    raise ConfigError(msg)


def _is_unknown(kind: str) -> bool:
    return kind in ("extra_forbidden", "unexpected_keyword_argument")


def _line_of(text: str, key: Sequence[int | str]) -> str:
    """Give " line N" of a key, or of the nearest thing around it that is there."""
    node, line = yaml.compose(text, Loader=yaml.SafeLoader), 0
    for part in key:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
        elif isinstance(node, yaml.MappingNode):
            pairs = {name.value: (name, value) for name, value in node.value}
            if str(part) not in pairs:
                break
            name, node = pairs[str(part)]
            line = name.start_mark.line
    return f" line {line + 1}"


def share_out(
    pictures: Iterable[Picture], data: Data, seed: int
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
    _refuse_empty(shared, data)
    _refuse_leaks(shared)
    return {role: tuple(found) for role, found in shared.items()}


def _role(picture: Picture, subset: Subset, data: Data, seed: int) -> Role | None:
    if picture.files:
        given: Role | None = COHORT_ROLES[picture.split]
    elif picture.split in subset.test:
        given = Role.TEST
    elif picture.split in subset.calibrate:
        given = Role.CALIBRATION
    else:
        given = _place(picture, data, seed) if picture.split in subset.train else None
    return None if picture.abnormal and given is not Role.TEST else given


def _place(picture: Picture, data: Data, seed: int) -> Role:
    # By a hash, so that a patient keeps its place when others come or go.
    digest = hashlib.sha256(f"{seed}/{picture.patient}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < data.held_out:
        return Role.HELD_OUT
    return Role.CALIBRATION if place < data.held_out + data.calibration else Role.TRAIN


def _refuse_empty(shared: Mapping[Role, list[Picture]], data: Data) -> None:
    for role, pictures in shared.items():
        wanted = role is not Role.TEST or any(one.test for one in data.subsets.values())
        if wanted and not pictures:
            msg = f"no image is left for {role}; look at the subsets' splits, or add patients"
            raise ConfigError(msg)


def _refuse_leaks(shared: Mapping[Role, list[Picture]]) -> None:
    """Refuse a patient with two roles; in two folders one name is taken for one patient."""
    seen: dict[str, tuple[Role, Picture]] = {}
    leaks: dict[frozenset[Role], tuple[Picture, Picture]] = {}
    for role, pictures in shared.items():
        for picture in pictures:
            first_role, first = seen.setdefault(picture.patient, (role, picture))
            if first_role is not role:
                leaks.setdefault(frozenset({role, first_role}), (first, picture))
    if leaks:
        pairs = "; ".join(
            f"{' and '.join(sorted(roles))} (for example {first.where} and {second.where})"
            for roles, (first, second) in leaks.items()
        )
        msg = (
            f"patients are shared between {pairs}: give each patient one split, or take lines "
            "out, before training"
        )
        raise ConfigError(msg)
