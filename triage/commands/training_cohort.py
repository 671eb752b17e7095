"""A cohort's cohort.csv: one line a file, the files of a series together, in geometric order.

The patient is a keyed digest and no other value of a patient stands in it. A digest of each
file's content (``triage.spool.digest``) and of each series' prepared pixels tells a changed file
and a picture shown twice.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from models.files import write_atomically
from triage.assemble import read
from triage.commands.training_pictures import HEALTHY_OR_NOT, Picture, lines_of
from triage.commands.training_plan import COHORT_ROLES
from triage.errors import Broken, ConfigError
from triage.study import InstanceRef, Series, StudyRef

COHORT: Final = "cohort.csv"
COLUMNS: Final = (
    "path", "sha256", "sop_instance_uid", "series_instance_uid", "study_instance_uid", "split",
    "anomaly", "patient", "stratum", "route", "recipe", "pixels",
)  # fmt: skip


def write_cohort(folder: Path, lines: Sequence[Mapping[str, str]]) -> None:
    """Write the lines, whole or not at all; their keys are ``COLUMNS``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_atomically(folder / COHORT, text.getvalue().encode())


def read_cohort(folder: Path) -> tuple[Picture, ...]:
    """Give the series of a cohort.

    Raises:
        ConfigError: the file is not what ``triage cohort build`` writes, a patient has two
            splits, or a series has two of anything.
    """
    path = folder / COHORT
    found = []
    for _, group in groupby(lines_of(path), key=_Series(path)):
        found.append(_picture(path, list(group)))
    _refuse_leaks(found)
    return tuple(found)


def series_of(picture: Picture) -> Series:
    """Give a cohort's series as the pipeline knows it, its files as they were when it was built.

    Raises:
        Broken: corrupt, a file changed or is gone; unparsable.
    """
    uid = picture.study_instance_uid
    study = read(StudyRef(0, uid, 1, "cohort", picture.files))
    if len(study.series) != 1:
        raise Broken(code="header", detail="the files are not of one series")
    return study.series[0]


class _Series:
    """Says which series a line belongs to, after a look at the columns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, numbered: tuple[int, dict[str, str]]) -> str:
        number, line = numbered
        if missing := set(COLUMNS) - line.keys():
            msg = f"{self._path} lacks: {', '.join(sorted(missing))}; build the cohort again"
            raise ConfigError(msg)
        if line["split"] not in COHORT_ROLES:
            known = ", ".join(COHORT_ROLES)
            msg = f"{self._path} line {number}: split is none of {known}; correct it"
            raise ConfigError(msg)
        if line["anomaly"] not in HEALTHY_OR_NOT:
            msg = f"{self._path} line {number}: anomaly is neither 0 nor 1; correct it"
            raise ConfigError(msg)
        return line["series_instance_uid"]


def _picture(path: Path, group: Sequence[tuple[int, dict[str, str]]]) -> Picture:
    number, first = group[0]
    for other, line in group:
        for name in ("study_instance_uid", "split", "anomaly", "patient", "recipe", "pixels"):
            if line[name] != first[name]:
                msg = f"{path} line {other}: {name} is not that of line {number}, the same series"
                raise ConfigError(msg)
    return Picture(
        path=Path(first["path"]),
        subset="",
        split=first["split"],
        abnormal=HEALTHY_OR_NOT[first["anomaly"]],
        patient=first["patient"],
        where=f"{path} line {number}",
        stratum=first["stratum"],
        files=tuple(_files(line for _, line in group)),
        study_instance_uid=first["study_instance_uid"],
        recipe=first["recipe"],
        pixels=first["pixels"],
    )


def _files(lines: Iterator[dict[str, str]]) -> Iterator[InstanceRef]:
    for line in lines:
        yield InstanceRef(line["sop_instance_uid"], line["sha256"], Path(line["path"]))


def _refuse_leaks(found: Sequence[Picture]) -> None:
    seen: dict[str, Picture] = {}
    for picture in found:
        for key in (picture.patient, picture.pixels):
            first = seen.setdefault(key, picture)
            if first.split != picture.split:
                what = "patient" if key == picture.patient else "picture"
                msg = (
                    f"{picture.where} ({picture.split}) and {first.where} ({first.split}) are of "
                    f"one {what}; give both one split, or take the lines out"
                )
                raise ConfigError(msg)
