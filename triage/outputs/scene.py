"""The series that decided, as companions need it: its images' headers, and the map laid on them."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from triage import maps
from triage.errors import Broken
from triage.finding import Assessment, Detection
from triage.outputs.context import ReportContext
from triage.outputs.source import Source, header_of, read
from triage.outputs.tidy import quiet
from triage.study import Series

Floats = npt.NDArray[np.float32]
Laying = tuple[str, tuple[tuple[int, tuple[int, int]], ...]]
"""SHA-256 of a map, and which of its frames are laid on how many rows and columns."""
_KEPT: Final = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "NumberOfFrames",
    "SamplesPerPixel", "PhotometricInterpretation", "FrameOfReferenceUID", "PatientOrientation",
    "PositionReferenceIndicator", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "ImagerPixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "LossyImageCompression",
    "LossyImageCompressionRatio", "LossyImageCompressionMethod", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "ModalityLUTSequence", "VOILUTSequence", "PixelRepresentation",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""What companions say of an image or depend on."""
_COARSE: Final = 8
_latest: Final[list[tuple[Assessment, "Scene"]]] = []
"""The study at hand: several kinds, built and checked, need the same headers."""
_laid: Final[list[tuple[Laying, Floats]]] = []
"""Its map, laid on its images."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The detection that decided, and the images it is about."""

    detection: Detection
    series: Series
    source: Source
    images: tuple[Dataset, ...]
    """How each is shown and where it lies, in geometric order, and whose it is."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """An anomaly map on source frames, pixel for pixel."""

    values: npt.NDArray[np.float32]
    """(frames, rows, columns), no unit."""
    images: tuple[Dataset, ...]
    """One for each frame; or one in all, when it has several frames."""
    frames: tuple[int, ...]
    """Of each frame its number in its image, from 1."""


def scene(assessment: Assessment) -> Scene:
    """Give the scene of an assessment with detections; for one study the files are read once.

    Raises:
        Held, Broken, TryAgain: as ``triage.outputs.source.read``.
    """
    for seen, ready in _latest:
        if seen is assessment:
            return ready
    detection = assessment.decision.because or assessment.detections[0]
    series = next(
        one
        for one in assessment.study.series
        if one.series_instance_uid == detection.series_instance_uid
    )
    with quiet():
        source = read(assessment)
        headers = [header_of(image.ref, _KEPT) for image in series.images]
        images = [_placed(header, assessment) for header in headers if header is not None]
        for image, known in zip(images, series.images, strict=True):
            image.update(source.header)
            image.StudyInstanceUID = source.study_instance_uid
            image.Rows, image.Columns = known.rows, known.columns
    made = Scene(detection, series, source, tuple(images))
    _latest[:] = [(assessment, made)]
    return made


def forget() -> None:
    """Drop the study at hand, so that its files are read again."""
    _latest.clear()
    _laid.clear()


def _placed(image: Dataset, assessment: Assessment) -> Dataset:
    """Give an image a frame of reference where it has none: its own, which no other object has.

    A map must say where its frames are. A projection lies in the plane of its own pixels.
    """
    if "SharedFunctionalGroupsSequence" in image:
        return image
    if "ImagePositionPatient" not in image or "ImageOrientationPatient" not in image:
        image.ImagePositionPatient = [0, 0, 0]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing = image.get("PixelSpacing") or image.get("ImagerPixelSpacing") or [1, 1]
        image.FrameOfReferenceUID = _own_frame(image)
    if not image.get("SliceThickness"):  # highdicom reads no map without one
        image.SliceThickness = image.get("SpacingBetweenSlices") or 1
    if not image.get("FrameOfReferenceUID"):
        image.FrameOfReferenceUID = own_frame(assessment.study.ref.study_instance_uid)
    return _grouped(image)


def _grouped(image: Dataset) -> Dataset:
    """Say it in functional groups too: highdicom looks there in every class that may have them."""
    shared, frame = Dataset(), Dataset()
    shared.PlaneOrientationSequence = [_part(image, "ImageOrientationPatient")]
    shared.PixelMeasuresSequence = [_part(image, "PixelSpacing", "SliceThickness")]
    frame.PlanePositionSequence = [_part(image, "ImagePositionPatient")]
    image.SharedFunctionalGroupsSequence = [shared]
    image.NumberOfFrames = int(image.get("NumberOfFrames") or 1)
    image.PerFrameFunctionalGroupsSequence = [frame] * image.NumberOfFrames
    return image


def _part(image: Dataset, *keywords: str) -> Dataset:
    part = Dataset()
    for keyword in keywords:
        setattr(part, keyword, image.get(keyword))
    return part


def _own_frame(image: Dataset) -> str:
    return own_frame(str(image.SOPInstanceUID))


def own_frame(of: str) -> str:
    """Give the frame of reference that only what was made of one study or image shares."""
    digest = hashlib.sha256(f"frame of reference {of}".encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"


def overlay(shown: Scene, context: ReportContext) -> Overlay:
    """Lay the map on the source's frames: all of them, or the strangest of very many.

    Projections share no space: of several, the key image alone is shown.

    Raises:
        Broken: no map is kept, or it is not of these images.
    """
    if context.results is None:
        raise Broken(code="internal", detail="There is no folder of anomaly maps")
    found = maps.read(context.results, shown.detection.map_sha256)
    by_uid = {str(image.SOPInstanceUID): image for image in shown.images}
    if not {uid for uid, _ in found.frames} <= set(by_uid):
        raise Broken(code="internal", detail="The anomaly map is of other images")
    chosen = _chosen(found, shown, by_uid, context.reporting.map_frames)
    images = [by_uid[found.frames[index][0]] for index in chosen]
    sizes = ((int(image.Rows), int(image.Columns)) for image in images)
    wanted = tuple(zip(chosen, sizes, strict=True))
    values = _lay(found, (shown.detection.map_sha256, wanted))
    distinct = tuple({str(image.SOPInstanceUID): image for image in images}.values())
    return Overlay(values, distinct, tuple(found.frames[index][1] for index in chosen))


def _lay(found: maps.AnomalyMap, which: Laying) -> Floats:
    for known, ready in _laid:
        if known == which:
            return ready
    values = np.stack([found.on_source(index, *size) for index, size in which[1]])
    values.flags.writeable = False
    _laid[:] = [(which, values)]
    return values


def _chosen(
    found: maps.AnomalyMap, shown: Scene, images: dict[str, Dataset], most: int
) -> Sequence[int]:
    everything = range(len(found.frames))
    if len(shown.images) == 1:
        return sorted(everything, key=lambda index: found.frames[index][1])
    spaces = {str(image.get("FrameOfReferenceUID")) for image in shown.images}
    if len(spaces) > 1:
        key = shown.detection.key_sop_instance_uid
        return [index for index in everything if found.frames[index][0] == key]
    if len(everything) <= most:
        return everything
    sizes = {uid: (int(image.Rows), int(image.Columns)) for uid, image in images.items()}
    height = [
        found.on_source(index, *sizes[found.frames[index][0]], step=_COARSE).max()
        for index in everything
    ]
    return sorted(sorted(everything, key=lambda index: -height[index])[:most])
