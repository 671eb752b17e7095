"""Studies of nobody for the simulation: head and chest CT, brain MR, chest DX; or own ones, copied.

Pictures are smooth shapes of the right grey values, no anatomy; an abnormal one holds a bright
ball. Two dimensions of pixels are called rows and columns, and slices go from the feet up.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from triage import dimse
from triage.commands.simulate_arrivals import Arrival
from triage.dimse import Item
from triage.spool import digest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.int16]

MPPS_CLASS: Final = "1.2.840.10008.3.1.2.3.3"
SLICE_MM: Final = 5.0
FIELD_MM: Final = 240.0
DX_SIZE_PX: Final = 512
AGE: Final = "060Y"


@dataclass(frozen=True, slots=True)
class Image:
    """One instance on disk, ready to be sent."""

    item: Item
    series_instance_uid: str
    sha256: str
    """As the pipeline's index calls this content."""


@dataclass(frozen=True, slots=True)
class Made:
    """A study that a modality has made."""

    study_instance_uid: str
    mpps_instance_uid: str
    arrival: Arrival
    header: Dataset
    """Of its first instance, without pixels: what a performed procedure step says of it."""
    images: tuple[Image, ...]


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes studies below a folder; the same seed and number give the same UIDs and pictures."""

    folder: Path
    seed: int
    size_px: int
    own: Mapping[str, Sequence[tuple[Path, ...]]] = field(default_factory=dict)
    """Modality -> files of studies to copy instead of drawing."""

    def make(self, number: int, arrival: Arrival, now: datetime) -> Made:
        """Write one study's files."""
        key = f"{self.seed}/{number}"
        folder = self.folder / f"{number:06}"
        folder.mkdir(parents=True, exist_ok=True)
        stamp = _stamp(key, now)
        drawn = self._copied(number, arrival) or self._drawn(number, key, arrival)
        header, images = Dataset(), []
        for place, dataset in enumerate(drawn, start=1):
            dataset.update(stamp)
            images.append(save(dataset, folder / f"{place:05}.dcm"))
            if place == 1:
                header = pydicom.dcmread(images[0].item.path, stop_before_pixels=True)
        mpps = str(stamp.ReferencedPerformedProcedureStepSequence[0].ReferencedSOPInstanceUID)
        return Made(str(header.StudyInstanceUID), mpps, arrival, header, tuple(images))

    def _drawn(self, number: int, key: str, arrival: Arrival) -> Iterator[FileDataset]:
        if arrival.modality == "DX":
            return _radiographs(self.seed * 100_003 + number, key, arrival)
        return _slices(key, arrival, self.size_px)

    def _copied(self, number: int, arrival: Arrival) -> Iterator[FileDataset] | None:
        """Give an own study under new UIDs, so that it may come as often as it likes."""
        choices = self.own.get(arrival.modality, ())
        if not choices:
            return None
        return _renamed(choices[number % len(choices)], f"{self.seed}/{number}")


def own_studies(folder: Path) -> dict[str, list[tuple[Path, ...]]]:
    """Find the studies below a folder: modality -> the files of each. What is no DICOM is left."""
    found: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        try:
            header = pydicom.dcmread(path, specific_tags=["StudyInstanceUID", "Modality"])
            dimse.inspect(path)
        except (InvalidDicomError, OSError, ValueError):
            continue
        key = str(header.get("Modality", "")), str(header.get("StudyInstanceUID", ""))
        if all(key):
            found.setdefault(key, []).append(path)
    studies: dict[str, list[tuple[Path, ...]]] = {}
    for (modality, _), paths in found.items():
        studies.setdefault(modality, []).append(tuple(paths))
    return studies


def save(dataset: FileDataset, path: Path) -> Image:
    """Write one instance and give what is needed to send it and to find it again."""
    dataset.save_as(path, enforce_file_format=True)
    return Image(dimse.inspect(path), str(dataset.SeriesInstanceUID), digest(path))


def uid(key: str, *parts: object) -> UID:
    """Give a UID that belongs to these words alone (PS3.5 B.2)."""
    text = "|".join(map(str, ("triage simulate", key, *parts)))
    return UID(f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:15], 'big')}")


def _stamp(key: str, now: datetime) -> Dataset:
    """Give what every instance of a study says alike: who, when, and which procedure step."""
    stamp, step = Dataset(), Dataset()
    number = int(str(uid(key))[5:]) % 10**8
    step.ReferencedSOPClassUID = UID(MPPS_CLASS)
    step.ReferencedSOPInstanceUID = uid(key, "mpps")
    stamp.ReferencedPerformedProcedureStepSequence = [step]
    stamp.PatientName = f"Simulated^{number:08}"
    stamp.PatientID = f"SIM-{number:08}"
    stamp.PatientBirthDate, stamp.PatientSex = "", "O"
    stamp.AccessionNumber, stamp.StudyID = f"S{number:08}", f"{number:08}"
    stamp.PerformedProcedureStepID = f"P{number:08}"
    stamp.StudyDate = stamp.SeriesDate = stamp.ContentDate = now.strftime("%Y%m%d")
    stamp.StudyTime = stamp.SeriesTime = stamp.ContentTime = now.strftime("%H%M%S")
    return stamp


def _radiographs(seed: int, key: str, arrival: Arrival) -> Iterator[FileDataset]:
    from models.radiographs import paste_opacity, sample
    from triage.commands.demo_studies import radiograph

    for place, picture in enumerate(sample(seed, arrival.images, DX_SIZE_PX), start=1):
        pixels = paste_opacity(picture, seed) if arrival.abnormal else picture
        dataset = radiograph(pixels, name="", key=f"simulate {key}", instance=place)
        dataset.BodyPartExamined = arrival.body_part
        dataset.PatientAge = AGE
        dataset.AnatomicRegionSequence = [_code("51185008", "Thorax")]
        dataset.ViewCodeSequence = [_code("399348003", "antero-posterior")]
        dataset.ViewPosition = "AP"
        dataset.AcquisitionContextSequence = []
        dataset.DetectorType = ""
        yield dataset


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", meaning
    return code


def _slices(key: str, arrival: Arrival, size_px: int) -> Iterator[FileDataset]:
    """Draw the slices of one series, a few millimetres apart."""
    is_ct = arrival.modality == "CT"
    values = {**_COMMON, **(_CT if is_ct else _MR)}
    values |= {
        "SOPClassUID": CTImageStorage if is_ct else MRImageStorage,
        "StudyInstanceUID": uid(key, "study"),
        "SeriesInstanceUID": uid(key, "series"),
        "FrameOfReferenceUID": uid(key, "frame"),
        "BodyPartExamined": arrival.body_part,
        "StudyDescription": f"{arrival.modality} {arrival.body_part.capitalize()}",
        "Rows": size_px,
        "Columns": size_px,
        "PixelSpacing": [FIELD_MM / size_px, FIELD_MM / size_px],
    }
    for place, pixels in enumerate(_pictures(key, arrival, size_px), start=1):
        height_mm = (place - 1 - (arrival.images - 1) / 2) * SLICE_MM
        corner_mm = -FIELD_MM / 2
        yield _instance({
            **values,
            "SOPInstanceUID": uid(key, "instance", place),
            "InstanceNumber": place,
            "ImagePositionPatient": [corner_mm, corner_mm, height_mm],
            "SliceLocation": height_mm,
            "PixelData": pixels.tobytes(),
        })  # fmt: skip


def _instance(values: Mapping[str, Any]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = values["SOPClassUID"]
    meta.MediaStorageSOPInstanceUID = values["SOPInstanceUID"]
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW"
    return dataset


def _pictures(key: str, arrival: Arrival, size_px: int) -> "Iterator[Pixels]":
    """Draw slice by slice an ellipsoid with what its modality shows in it, and noise."""
    import numpy as np

    dice = np.random.default_rng(int(str(uid(key, "pixels"))[5:]))
    y, x = np.mgrid[-1 : 1 : size_px * 1j, -1 : 1 : size_px * 1j]
    middle = dice.uniform(-0.3, 0.3, 3)
    outside, wall, inside, hole, ball, noise = _GREYS[arrival.modality, arrival.body_part == "HEAD"]
    for z in np.linspace(-0.8, 0.8, arrival.images):
        out = (x / 0.8) ** 2 + (y / 0.9) ** 2 + z**2
        hollow = ((abs(x) - 0.35) / 0.25) ** 2 + (y / 0.45) ** 2 + z**2
        pixels = np.select([out > 1, out > 0.85, hollow < 1], [outside, wall, hole], inside)
        if arrival.abnormal:
            near = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 + (z - middle[2]) ** 2
            pixels = np.where(near < 0.03, ball, pixels)
        yield (pixels + dice.normal(0, noise, pixels.shape)).astype("<i2")


_GREYS: Final = {
    ("CT", True): (-1000, 900, 35, 8, 75, 6),
    ("CT", False): (-1000, 40, 50, -820, 60, 12),
    ("MR", True): (5, 250, 600, 180, 1100, 12),
    ("MR", False): (5, 400, 500, 60, 900, 12),
}
"""Modality and "a head" -> outside, wall, inside, hole, ball, noise; HU for CT."""

_COMMON: Final[Mapping[str, Any]] = {
    "SpecificCharacterSet": "ISO_IR 192",
    "ReferringPhysicianName": "",
    "PatientAge": AGE,
    "SeriesNumber": 1,
    "AcquisitionNumber": 1,
    "Manufacturer": "Triage simulation",
    "PatientPosition": "HFS",
    "PositionReferenceIndicator": "",
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "SliceThickness": SLICE_MM,
    "SpacingBetweenSlices": SLICE_MM,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 1,
}
_CT: Final[Mapping[str, Any]] = {
    "Modality": "CT",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "KVP": 120,
    "RescaleIntercept": 0,
    "RescaleSlope": 1,
    "RescaleType": "HU",
    "WindowCenter": 40,
    "WindowWidth": 400,
}
_MR: Final[Mapping[str, Any]] = {
    "Modality": "MR",
    "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
    "ScanningSequence": "SE",
    "SequenceVariant": "NONE",
    "ScanOptions": "",
    "MRAcquisitionType": "2D",
    "RepetitionTime": 500,
    "EchoTime": 15,
    "EchoTrainLength": 1,
    "MagneticFieldStrength": 1.5,
    "WindowCenter": 500,
    "WindowWidth": 1000,
}


def _renamed(paths: Sequence[Path], key: str) -> Iterator[FileDataset]:
    """Read own files and give them new UIDs; files of one series stay together."""
    for place, path in enumerate(paths, start=1):
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = uid(key, "study")
        dataset.SeriesInstanceUID = uid(key, "series", dataset.get("SeriesInstanceUID", ""))
        dataset.SOPInstanceUID = uid(key, "instance", place)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        yield dataset
