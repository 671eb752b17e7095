"""The demo's studies: made-up radiographs, and the examples that pydicom brings. No patient."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIZE_PX: Final = 512
HEALTHY: Final = 4
WITH_OPACITY: Final = 3
PATIENT_AGE: Final = "004Y"
"""The radiographs resemble the paediatric ones that the generator learnt from."""
EXAMPLES: Final = {
    "CT example": "CT_small.dcm",
    "MR example": "MR_small.dcm",
    "ultrasound example": "examples_ybr_color.dcm",
    "radiotherapy plan": "rtplan.dcm",
}
"""Files inside the pydicom package."""


@dataclass(frozen=True, slots=True)
class DemoStudy:
    """One made-up study: what it is, its files, and how often it is sent."""

    name: str
    files: tuple[Path, ...]
    times: int = 1
    accepted: bool = True
    """False for the one the listener must refuse."""


def make(folder: Path) -> list[DemoStudy]:
    """Write the studies' files below ``folder``; the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    return [*_radiographs(folder), *_examples(folder), *_trouble(folder)]


def _radiographs(folder: Path) -> Iterator[DemoStudy]:
    from models.radiographs import paste_opacity, sample

    pictures = sample(seed=0, count=HEALTHY + WITH_OPACITY, size_px=SIZE_PX)
    for number, picture_HW in enumerate(pictures, start=1):
        opaque = number > HEALTHY
        name = f"radiograph {number}{' with an opacity pasted in' if opaque else ''}"
        pixels_HW = paste_opacity(picture_HW, seed=number) if opaque else picture_HW
        dataset = radiograph(pixels_HW, name=f"Demo^{number:02}", key=f"radiograph-{number}")
        path = _save(dataset, folder / f"radiograph-{number}.dcm")
        yield DemoStudy(name, (path,), times=2 if number == 1 else 1)


def _examples(folder: Path) -> Iterator[DemoStudy]:
    for name, file in EXAMPLES.items():
        path = folder / file
        dataset = pydicom.dcmread(Path(pydicom.__file__).parent / "data" / "test_files" / file)
        dataset.save_as(path, enforce_file_format=True)
        yield DemoStudy(name, (path,))


def _trouble(folder: Path) -> Iterator[DemoStudy]:
    """Two patients under one study; pixel data that cannot be decoded; a file cut short."""
    import numpy as np

    flat_HW = np.full((64, 64), 1000, np.uint16)
    first = radiograph(flat_HW, name="Demo^Two", key="two-patients")
    second = radiograph(flat_HW, name="Demo^Patients", key="two-patients", instance=2)
    second.PatientID = "DEMO-OTHER"
    paths = [
        _save(dataset, folder / f"two-patients-{number}.dcm")
        for number, dataset in enumerate((first, second), start=1)
    ]
    yield DemoStudy("one study with two patients", tuple(paths))

    broken = radiograph(flat_HW, name="Demo^Broken", key="broken")
    broken.file_meta.TransferSyntaxUID = JPEGLSLossless
    broken.PixelData = encapsulate([b"\xff\xd8 no picture follows" * 8])
    broken["PixelData"].VR = "OB"
    broken["PixelData"].is_undefined_length = True
    yield DemoStudy("broken pixel data", (_save(broken, folder / "broken.dcm"),))

    whole = _save(radiograph(flat_HW, name="Demo^Cut", key="cut"), folder / "cut.dcm")
    whole.write_bytes(whole.read_bytes()[:-2000])
    yield DemoStudy("a file cut short", (whole,), accepted=False)


def radiograph(
    pixels_HW: "NDArray[np.uint16]", *, name: str, key: str, instance: int = 1
) -> FileDataset:
    """Give a frontal chest radiograph as a DX instance (PS3.3 A.26); 12 bits, UIDs from ``key``."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = UID(_uid(key, "instance", instance))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    rows, columns = pixels_HW.shape
    for keyword, value in {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": _uid(key, "study"),
        "SeriesInstanceUID": _uid(key, "series"),
        "PatientID": f"DEMO-{key}",
        "PatientName": name,
        "PatientAge": PATIENT_AGE,
        "StudyDescription": "Chest PA",
        "AccessionNumber": f"D{_number(key, 'accession') % 10**6:06}",
        "InstanceNumber": instance,
        "Rows": rows,
        "Columns": columns,
        "PixelData": pixels_HW.astype("<u2").tobytes(),
        **_DX,
    }.items():
        setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW"
    return dataset


_DX: Final[dict[str, Any]] = {
    "SpecificCharacterSet": "ISO_IR 192",
    "PatientBirthDate": "",
    "PatientSex": "O",
    "StudyDate": "20260102",
    "StudyTime": "080000",
    "StudyID": "1",
    "ReferringPhysicianName": "",
    "Modality": "DX",
    "SeriesNumber": 1,
    "Manufacturer": "Triage demo",
    "BodyPartExamined": "CHEST",
    "ViewPosition": "PA",
    "PatientOrientation": ["L", "F"],
    "ImageLaterality": "U",
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "PresentationIntentType": "FOR PRESENTATION",
    "BurnedInAnnotation": "NO",
    "LossyImageCompression": "00",
    "ImagerPixelSpacing": [0.7, 0.7],
    "PositionerType": "NONE",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "PixelIntensityRelationship": "LOG",
    "PixelIntensityRelationshipSign": -1,
    "RescaleIntercept": 0,
    "RescaleSlope": 1,
    "RescaleType": "US",
    "PresentationLUTShape": "IDENTITY",
    "WindowCenter": 2048,
    "WindowWidth": 4096,
}


def _number(key: str, *parts: object) -> int:
    text = "|".join(map(str, ("triage demo", key, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:15], "big")


def _uid(key: str, *parts: object) -> str:
    return f"2.25.{_number(key, *parts)}"


def _save(dataset: FileDataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path
