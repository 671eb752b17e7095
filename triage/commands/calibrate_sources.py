"""Where healthy studies to calibrate on come from: a cohort, DICOM files, or labelled pictures.

All three end as ``Normal``: who it is of, where it stands among the strata, and how to get its
pixels. What is chosen is checked here against the tests of the same folder.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.calibrate import Place
from models.contract import Volume
from triage.assemble import plan, read
from triage.commands.cohort_series import without_detectors
from triage.commands.cohort_sources import in_folders
from triage.commands.measure import prepare
from triage.commands.training_cohort import COHORT, read_cohort, series_of
from triage.commands.training_pictures import SPLIT, Picture, read_pictures
from triage.detect import place_of, strata
from triage.errors import CodedError, ConfigError
from triage.keys import COHORT_KEY, Keyed, site_key
from triage.preprocess.pipeline import preprocess
from triage.study import StudyRef

if TYPE_CHECKING:
    from triage.preprocess.decoder import Decoder
    from triage.settings import Recipe, Settings

CALIBRATES: Final = ("calibration", "calibrate", "val")
"""Splits taken where none is named: those that are there of these."""
TESTS: Final = "test"
"""Splits whose name begins so measure, and never calibrate."""
BANDED: Final = 3
"""Parts of a stratum with an age band: "DX/CHEST/adult"."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which healthy studies to take."""

    normals: Path
    """A cohort's folder, a folder with split.csv, or one of DICOM files that all are healthy."""
    splits: tuple[str, ...] = ()
    """Of a cohort or split.csv; those of CALIBRATES when none is named."""
    subsets: tuple[str, ...] = ()
    """Of split.csv; all when none is named."""
    strata: Mapping[str, str] = field(default_factory=dict)
    """Of split.csv: the stratum of each subset."""
    any_site: bool = False
    """Of split.csv: the pictures are taken for those of any site. Otherwise a subset is a site,
    and studies of other sites are not analysed."""


@dataclass(frozen=True, slots=True)
class Normal:
    """One healthy series or picture."""

    patient: str
    study: str
    where: str
    """For messages: a line of a file, or a Study Instance UID."""
    content: tuple[str, ...]
    """SHA-256 of each image's content."""
    place: Place
    volume: Callable[["Recipe", "Decoder"], Volume]
    """Prepares it by a recipe."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found to calibrate on."""

    normals: tuple[Normal, ...]
    not_taken: Mapping[str, int]
    """By reason code, DICOM studies that no route takes."""


def gather(wanted: Wanted, settings: "Settings") -> Gathered:
    """Give the healthy studies of a folder.

    Raises:
        ConfigError: there are none, a split or subset is not there, a stratum is not named, or
            what is to calibrate tests as well.
    """
    folder = wanted.normals
    if (folder / COHORT).is_file():
        found = Gathered(tuple(map(_series, _chosen(read_cohort(folder), wanted))), {})
    elif (folder / SPLIT).is_file():
        lines = _chosen(read_pictures(folder), wanted)
        found = Gathered(tuple(_picture(one, wanted) for one in lines), {})
    else:
        found = _dicom(folder, settings)
    if not found.normals:
        msg = (
            f"{folder} holds no healthy study that a route takes; name a cohort, a folder with "
            f"{SPLIT}, or a folder of DICOM files, and see routes.yaml"
        )
        raise ConfigError(msg)
    return found


def _chosen(everything: Sequence[Picture], wanted: Wanted) -> tuple[Picture, ...]:
    """Give the healthy lines of the wanted splits; refuse what tests, itself or its patient."""
    known = {one.split for one in everything}
    splits = set(wanted.splits) or known & set(CALIBRATES)
    subsets = {one.subset for one in everything}
    if not splits or splits - known:
        missing = ", ".join(sorted(splits - known)) or f"among {', '.join(CALIBRATES)}"
        msg = f"no split {missing} in {wanted.normals}, only {', '.join(sorted(known))}; --split"
        raise ConfigError(msg)
    if tests := sorted(one for one in splits if one.startswith(TESTS)):
        msg = (
            f"split {', '.join(tests)} measures: what is promised must not be set on the studies "
            "that check it; name another --split"
        )
        raise ConfigError(msg)
    if unknown := set(wanted.subsets) - subsets:
        msg = f"no subset {', '.join(sorted(unknown))}, only {', '.join(sorted(subsets))}; --subset"
        raise ConfigError(msg)
    taken = tuple(
        one
        for one in everything
        if one.split in splits
        and not one.abnormal
        and (not wanted.subsets or one.subset in wanted.subsets)
    )
    _refuse_tested(taken, everything)
    return taken


def _refuse_tested(taken: Sequence[Picture], everything: Sequence[Picture]) -> None:
    """Refuse patients and pictures that test too: the test would only repeat the calibration."""
    tested = [one for one in everything if one.split.startswith(TESTS)]
    persons = {one.patient: one for one in tested}
    pictures = {content: one for one in tested for content in _content(one)}
    for one in taken:
        first = persons.get(one.patient) or next(
            (pictures[content] for content in _content(one) if content in pictures), None
        )
        if first is not None:
            msg = (
                f"{one.where} is to calibrate, and {first.where} tests the same patient or "
                "picture; take one of the lines out"
            )
            raise ConfigError(msg)


def _content(one: Picture) -> tuple[str, ...]:
    if one.files:
        return tuple(file.sha256 for file in one.files)
    try:
        return (hashlib.sha256(one.path.read_bytes()).hexdigest(),)
    except OSError as why:
        msg = f"{one.where}: cannot read {one.path}: {why.strerror}; put it back, or take it out"
        raise ConfigError(msg) from None


def _series(one: Picture) -> Normal:
    """Give a cohort's series; its header says where it stands."""
    try:
        series = series_of(one)
        study = read(StudyRef(0, one.study_instance_uid, 1, "cohort", one.files))
    except CodedError as why:
        msg = f"{one.where}: {why.reason}; build the cohort again"
        raise ConfigError(msg) from None
    return Normal(
        patient=one.patient,
        study=one.study_instance_uid,
        where=one.where,
        content=_content(one),
        place=place_of(series, strata(study, series)),
        volume=partial(preprocess, series),
    )


def _picture(one: Picture, wanted: Wanted) -> Normal:
    stratum = wanted.strata.get(one.subset) or wanted.strata.get("")
    if not stratum:
        msg = (
            f"{one.where}: pictures have no header, so say which stratum subset {one.subset!r} "
            f"is of: --stratum {one.subset}=DX/CHEST/adult"
        )
        raise ConfigError(msg)
    parts = stratum.split("/")
    pooled = ("/".join(parts[:-1]),) if len(parts) == BANDED else ()
    site = {} if wanted.any_site else {"site": site_of(one.subset)}
    return Normal(
        patient=one.patient,
        study=str(one.path),
        where=one.where,
        content=_content(one),
        place=Place((stratum, *pooled), site),
        volume=lambda recipe, _: Volume(prepare((one,), recipe).voxels, (0,), None),
    )


def site_of(subset: str) -> str:
    """Give the site that pictures of a subset stand for."""
    return " ".join(subset.upper().replace("/", " ").replace("=", " ").split())


def _dicom(folder: Path, settings: "Settings") -> Gathered:
    """Give every series that a route takes of the studies below a folder."""
    patient = Keyed(site_key(settings.secrets, COHORT_KEY))
    routes = without_detectors(settings.routes, ())
    found: list[Normal] = []
    refused: Counter[str] = Counter()
    for ref in in_folders([folder]).studies:
        try:
            study = read(ref)
            chosen = plan(study, routes, settings.recipes)
        except CodedError as why:
            refused[why.reason.code] += 1
            continue
        person = patient(f"{study.patient.issuer_of_patient_id}\0{study.patient.patient_id}")
        for one in chosen:
            series = one.series
            found.append(
                Normal(
                    patient=person,
                    study=ref.study_instance_uid,
                    where=f"study {ref.study_instance_uid}",
                    content=tuple(image.ref.sha256 for image in series.images),
                    place=place_of(series, strata(study, series)),
                    volume=partial(preprocess, series),
                )
            )
    return Gathered(tuple(found), dict(refused))
