"""Assessed studies of files as scanners wrote them, read by the pipeline's reader, with maps."""

import csv
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.triage.outputs import studies
from triage import maps
from triage.assemble import read
from triage.errors import CodedError
from triage.finding import Assessment, Decision, Detection, Outcome
from triage.spool import digest
from triage.study import InstanceRef, Series, Study, StudyRef

DATA = Path(os.environ.get("TRIAGE_TEST_DATA", "../shared/data")) / "dicom"
SIDE = 8


def listed() -> dict[str, list[Path]]:
    """Give the files of the collection by study: readable images, each instance once."""
    manifest = DATA / "manifest.csv"
    found: dict[str, dict[str, Path]] = {}
    if not manifest.is_file():
        return {}
    with manifest.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["study_uid"] and row["rows"] and row["pydicom_reads"].startswith("ok"):
                members = found.setdefault(row["study_uid"], {})
                members.setdefault(f"{row['series_uid']} {row['path']}", DATA / row["path"])
    return {str(next(iter(one.values())).relative_to(DATA)): [*one.values()]
            for one in found.values()}  # fmt: skip


def assessed(paths: list[Path], results: Path) -> Assessment | None:
    """Read a study and assess its first series of images; None where it is no study for us."""
    study = _study(paths)
    series = next(iter(study.series), None) if study else None
    if study is None or series is None:
        return None
    first = series.images[0]
    alike = tuple(
        image
        for image in series.images
        if (image.rows, image.columns) == (first.rows, first.columns)
    )
    series = replace(series, images=alike)
    others = tuple(one for one in study.series[1:])
    study = replace(study, series=(series, *others))
    detection = Detection(
        detector=studies.DETECTOR,
        calibration=studies.CALIBRATION,
        series_instance_uid=series.series_instance_uid,
        sop_instance_uids=tuple(image.ref.sop_instance_uid for image in alike),
        key_sop_instance_uid=alike[len(alike) // 2].ref.sop_instance_uid,
        score=3.25,
        p_value=0.0125,
        map_sha256=maps.keep(map_of(series), results) if has_map(series) else "",
    )
    sentence = "At least as unusual as 407 of 412 healthy studies of CT/CHEST/adult."
    decision = Decision(
        Outcome.PRIORITISED, 2, "high", sentence, because=detection, thresholds=(("high", 0.05),)
    )
    return Assessment(study, (detection,), decision)


def has_map(series: Series) -> bool:
    """Tell whether a detector could have made a map: grey, one film, or slices of one volume."""
    first = series.images[0]
    if not first.photometric_interpretation.startswith("MONOCHROME"):
        return False
    if first.image_position_mm is None:
        return first.number_of_frames == 1
    places = {image.image_position_mm for image in series.images}
    turns = {image.image_orientation for image in series.images}
    enhanced = first.number_of_frames == 1 or len(series.images) == 1
    return enhanced and len(turns) == 1 and len(places) == len(series.images)


def map_of(series: Series, seed: int = 0) -> maps.AnomalyMap:
    """Give a small random map over the whole of each frame."""
    first = series.images[0]
    frames = tuple(
        (image.ref.sop_instance_uid, frame)
        for image in series.images
        for frame in range(1, image.number_of_frames + 1)
    )
    values = np.random.default_rng(seed).random((len(frames), SIDE, SIDE), dtype=np.float32)
    matrix = np.eye(4)
    for axis, size in ((1, first.rows), (2, first.columns)):
        matrix[axis, axis] = size / SIDE
        matrix[axis, 3] = (size / SIDE - 1) / 2
    return maps.AnomalyMap(values, matrix[None], frames)


def _study(paths: list[Path]) -> Study | None:
    refs: dict[str, InstanceRef] = {}
    uid = ""
    for path, header_uid, sop in _headers(paths):
        uid = uid or header_uid
        refs.setdefault(sop, InstanceRef(sop, digest(path), path))
    try:
        return read(StudyRef(1, uid, 1, "quiet period 5 s", tuple(refs.values())))
    except CodedError:
        return None


def _headers(paths: list[Path]) -> Iterator[tuple[Path, str, str]]:
    import pydicom

    for path in paths:
        header = pydicom.dcmread(path, specific_tags=["StudyInstanceUID", "SOPInstanceUID"])
        yield path, str(header.StudyInstanceUID), str(header.SOPInstanceUID)
