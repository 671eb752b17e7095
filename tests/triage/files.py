"""DICOM files for tests, built in code, and the places of real ones."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import FileDataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

from triage.spool import digest
from triage.study import InstanceRef, StudyRef

STORAGE = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
}
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
Pixels = npt.NDArray[Any]
Element = object


def shared(pattern: str) -> list[Path]:
    """Give the shared test data's files of that pattern, or skip the test."""
    root = Path(os.environ.get("TRIAGE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    found = sorted(path for path in root.glob(pattern) if path.is_file())
    if not found:
        pytest.skip("needs the shared test data (TRIAGE_TEST_DATA)")
    return found


def bundled(name: str) -> Path:
    """Give a file that ships with pydicom."""
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str)
    return Path(found)


def image(modality: str, pixels: Pixels, *, number: int = 1, **elements: Element) -> FileDataset:
    """Build one grey image; ``elements`` are added or replaced, None removes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = STORAGE[modality]
    built = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    built.SOPClassUID = STORAGE[modality]
    built.SOPInstanceUID = generate_uid(entropy_srcs=[modality, str(number)])
    built.Modality = modality
    built.PatientID = "TEST-1"
    built.PatientName = "Test^Patient"
    built.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    built.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    built.SeriesNumber = 1
    built.InstanceNumber = number
    built.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    built.SamplesPerPixel = 1
    built.PhotometricInterpretation = "MONOCHROME2"
    built.Rows, built.Columns = pixels.shape[-2:]
    built.BitsAllocated = pixels.dtype.itemsize * 8
    built.BitsStored = built.BitsAllocated
    built.HighBit = built.BitsStored - 1
    built.PixelRepresentation = int(pixels.dtype.kind == "i")
    if modality == "CT":
        built.RescaleSlope, built.RescaleIntercept = 1, 0
    content = pixels.tobytes()
    built.PixelData = content + b"\0" * (len(content) % 2)
    for keyword, value in elements.items():
        if value is not None:
            setattr(built, keyword, value)
        elif keyword in built:
            delattr(built, keyword)
    return built


def write(built: FileDataset, path: Path) -> Path:
    """Write a Part 10 file."""
    built.file_meta.MediaStorageSOPInstanceUID = built.SOPInstanceUID
    built.save_as(path, enforce_file_format=True)
    return path


def stack(
    folder: Path,
    volume: Pixels,
    *,
    modality: str = "CT",
    orientation: Sequence[float] = AXIAL,
    gap_mm: float = 2.0,
    **elements: Element,
) -> list[Path]:
    """Write a volume (slices, rows, columns) as one file a slice, along the slice normal."""
    normal = np.cross(orientation[:3], orientation[3:])
    return [
        write(
            image(
                modality,
                pixels,
                number=index + 1,
                ImagePositionPatient=[float(mm) for mm in normal * gap_mm * index],
                ImageOrientationPatient=list(orientation),
                **{"PixelSpacing": [1.0, 1.0], **elements},
            ),
            folder / f"{index:03}.dcm",
        )
        for index, pixels in enumerate(volume)
    ]


def study_ref(paths: Iterable[Path]) -> StudyRef:
    """Give a closed set of instances, as the database would."""
    return StudyRef(
        id=1,
        study_instance_uid="1.2.826.0.1.3680043.8.498.1",
        generation=1,
        evidence="quiet period 1 s",
        instances=tuple(_instance(path) for path in paths),
    )


def _instance(path: Path) -> InstanceRef:
    header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"], force=True)
    element = header.get_item("SOPInstanceUID")
    value = getattr(element, "value", None) or path.name.encode()
    found = digest(path)
    return InstanceRef(bytes(value).decode().rstrip("\0"), found, path)
