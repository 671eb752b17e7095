"""Labelled pictures of a folder, as its split.csv lists them, or series of a cohort.

split.csv has a line a picture with the columns ``path``, ``anomaly`` (0 healthy, 1 abnormal),
``split``, a patient column and perhaps ``subset``; more columns are ignored. A message names the
file and the line, and no value of a patient.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from triage.errors import ConfigError
from triage.study import InstanceRef

SPLIT: Final = "split.csv"
PATIENT_COLUMNS: Final = ("patient", "group")
"""Where no column is named, the first of these that the file has."""
HEALTHY_OR_NOT: Final[Mapping[str, bool]] = {"0": False, "1": True}


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a folder, or one DICOM series of a cohort."""

    path: Path
    """Of a series, its first file."""
    subset: str
    split: str
    abnormal: bool
    patient: str
    """The path where the source knows no patients; a keyed digest in a cohort."""
    where: str = ""
    """The file and line that name it."""
    stratum: str = ""
    """Of a cohort's series; a folder's pictures have that of their subset."""
    files: tuple[InstanceRef, ...] = ()
    """Of a series; none for a picture."""
    study_instance_uid: str = ""
    recipe: str = ""
    """By which a cohort's series was chosen."""
    pixels: str = ""
    """SHA-256 of a cohort's prepared series."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one split.csv says what it says."""

    patient_column: str | None = None
    subset: str = ""
    """Of every line, where there is no column ``subset``; by default the folder's name."""
    labels: Mapping[str, bool] = field(default_factory=dict)
    """By the value of the column ``label``, whether it is abnormal; then no other value may stand
    there, and ``anomaly`` may be missing."""


def read_pictures(folder: Path, dialect: Dialect | None = None) -> tuple[Picture, ...]:
    """Read the folder's split.csv, its lines in order.

    Raises:
        ConfigError: there is no split.csv, it lacks a column, or a line is wrong.
    """
    dialect = dialect or Dialect()
    path = folder / SPLIT
    found = []
    patient_column = ""
    for number, line in lines_of(path):
        if not patient_column:
            patient_column = _patient_column(path, line, dialect)
        where = f"{path} line {number}"
        if not line["path"] or not line["split"]:
            msg = f"{where}: path or split is empty; fill it in, or take the line out"
            raise ConfigError(msg)
        found.append(
            Picture(
                path=folder / line["path"],
                subset=line.get("subset", dialect.subset or folder.resolve().name),
                split=line["split"],
                abnormal=_is_abnormal(line, where, dialect.labels),
                patient=line[patient_column] or line["path"],
                where=where,
            )
        )
    return tuple(found)


def lines_of(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Give the lines of a CSV file, each with its number; the header is line 1.

    Raises:
        ConfigError: the file cannot be read, is no CSV in UTF-8, is empty, or a line has more or
            fewer cells than the header.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            any_line = False
            for line in reader:
                if None in line or None in line.values():
                    msg = f"{path} line {reader.line_num} has not as many cells as the header"
                    raise ConfigError(msg)
                any_line = True
                yield reader.line_num, line
            if not any_line:
                msg = f"{path} holds no line below its header"
                raise ConfigError(msg)
    except OSError as why:
        msg = f"cannot read {path}: {why.strerror}; name the folder with --data"
        raise ConfigError(msg) from None
    except (csv.Error, UnicodeDecodeError) as why:
        msg = f"{path} is no CSV file in UTF-8 ({type(why).__name__}); save it as one"
        raise ConfigError(msg) from None


def _patient_column(path: Path, line: Mapping[str, str], dialect: Dialect) -> str:
    """Give the name of the patient column; refuse a header that lacks what is needed."""
    known = (dialect.patient_column,) if dialect.patient_column else PATIENT_COLUMNS
    column = next((name for name in known if name in line), None)
    needed = {"path", "split", "label" if dialect.labels else "anomaly"}
    missing = needed - line.keys() | ({known[0]} if column is None else set())
    if missing or column is None:
        msg = (
            f"{path} lacks: {', '.join(sorted(missing))}; add the column, or say in the training "
            "file which is meant (patient_column, labels)"
        )
        raise ConfigError(msg)
    return column


def _is_abnormal(line: Mapping[str, str], where: str, labels: Mapping[str, bool]) -> bool:
    stated = HEALTHY_OR_NOT.get(line.get("anomaly", "").strip())
    if not labels:
        if stated is None:
            msg = f"{where}: anomaly is neither 0 (healthy) nor 1 (abnormal); correct it"
            raise ConfigError(msg)
        return stated
    label = line["label"]
    if label not in labels:
        msg = (
            f"{where}: its label is none of the training file's labels "
            f"({', '.join(sorted(labels))}); correct the line, or add it there"
        )
        raise ConfigError(msg)
    if stated is not None and stated is not labels[label]:
        msg = f"{where}: label and anomaly contradict each other; correct one of them"
        raise ConfigError(msg)
    return labels[label]
