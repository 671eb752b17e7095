"""Made-up studies for cohorts: radiographs of patients, and small volumes."""

from pathlib import Path

import numpy as np
from pydicom import FileDataset, dcmread
from pydicom.uid import UID

from models.radiographs import paste_opacity, sample
from tests.triage.files import stack
from triage.commands.demo_studies import radiograph

SECRET = "CANARY-PATIENT"


def radiographs(count: int, *, abnormal: int = 0) -> list[FileDataset]:
    """Two studies a patient; the last ``abnormal`` studies show an opacity, one a patient."""
    found = []
    for number, pixels in enumerate(sample(seed=5, count=count, size_px=96)):
        sick = number >= count - abnormal
        picture = paste_opacity(pixels, number) if sick else pixels
        study = radiograph(picture, name="Canary^Name", key=f"cohort-{number}")
        study.PatientID = f"{SECRET}-{number if sick else number // 2}"
        found.append(study)
    return found


def saved(folder: Path, *studies: FileDataset) -> Path:
    """Write the studies into a folder, a file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for study in studies:
        study.save_as(folder / f"{study.SOPInstanceUID}.dcm", enforce_file_format=True)
    return folder


def uids(path: Path, *studies: FileDataset) -> Path:
    """Write a list of Study Instance UIDs."""
    lines = [f"{study.StudyInstanceUID}  # read\n" for study in studies]
    path.write_text("".join(["# healthy\n", "\n", *lines]))
    return path


def volumes(folder: Path, count: int) -> Path:
    """Write head CT studies of 10 slices, a patient each: a bright ring with its own brain."""
    line = np.linspace(-1, 1, 32)
    y, x = np.meshgrid(line, line, indexing="ij")
    for number in range(count):
        random = np.random.default_rng(number)
        wide, high = random.uniform(0.6, 0.9, 2)
        radius = (x / wide) ** 2 + (y / high) ** 2
        head = np.where(radius < 1, 40.0, -1000.0) + np.where(abs(radius - 1) < 0.2, 900.0, 0.0)
        brain = random.normal(0, 12, (10, 32, 32)) * (radius < 0.8)
        voxels = (head + brain).round().astype(np.int16)
        study = f"1.2.826.0.1.3680043.8.498.77.{number}"
        (folder / f"{number}").mkdir(parents=True)
        for slice_number, path in enumerate(
            stack(
                folder / f"{number}",
                voxels,
                gap_mm=5.0,
                StudyInstanceUID=study,
                SeriesInstanceUID=f"{study}.1",
                PatientID=f"{SECRET}-{number}",
                BodyPartExamined="HEAD",
                FrameOfReferenceUID=f"{study}.2",
            )
        ):
            _renamed(path, f"{study}.1.{slice_number + 1}")
    return folder


def _renamed(path: Path, sop_instance_uid: str) -> None:
    dataset = dcmread(path)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    dataset.save_as(path, enforce_file_format=True)
