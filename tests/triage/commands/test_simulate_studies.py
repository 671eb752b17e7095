"""The simulation's studies are valid DICOM, the same for the same seed, and of nobody."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.builders import dx
from tests.servers import binary
from triage.commands.simulate_arrivals import Arrival
from triage.commands.simulate_studies import Made, Maker, own_studies
from triage.spool import digest

NOW = datetime(2026, 1, 2, 8, tzinfo=UTC)
KINDS = [("CT", "HEAD"), ("CT", "CHEST"), ("MR", "HEAD"), ("DX", "CHEST")]


def made(
    folder: Path, modality: str = "CT", part: str = "HEAD", *, abnormal: bool = False, seed: int = 1
) -> Made:
    images = 1 if modality == "DX" else 3
    return Maker(folder, seed, 32).make(7, Arrival(0, modality, part, images, abnormal), NOW)


@pytest.mark.parametrize(("modality", "part"), KINDS)
def test_every_kind_is_a_valid_object_of_its_class(
    tmp_path: Path, modality: str, part: str
) -> None:
    study = made(tmp_path, modality, part)
    for image in study.images:
        checked = subprocess.run(
            [binary("dciodvfy"), image.item.path], capture_output=True, text=True, check=False
        )
        assert "Error" not in checked.stderr, checked.stderr
        dataset = pydicom.dcmread(image.item.path)
        assert (dataset.Modality, dataset.BodyPartExamined) == (modality, part)
        assert dataset.StudyInstanceUID == study.study_instance_uid
        assert image.sha256 == digest(image.item.path)
        [step] = dataset.ReferencedPerformedProcedureStepSequence
        assert step.ReferencedSOPInstanceUID == study.mpps_instance_uid


def test_the_same_seed_gives_the_same_bytes_and_another_another_study(tmp_path: Path) -> None:
    first, again = made(tmp_path / "a"), made(tmp_path / "b")
    assert [one.sha256 for one in first.images] == [one.sha256 for one in again.images]
    other = made(tmp_path / "c", seed=2)
    assert other.study_instance_uid != first.study_instance_uid
    assert len({one.item.sop_instance_uid for one in (*first.images, *other.images)}) == 6


def test_slices_stand_above_each_other_and_an_abnormal_study_is_brighter(tmp_path: Path) -> None:
    healthy, ill = made(tmp_path / "a"), made(tmp_path / "b", abnormal=True)
    slices = [pydicom.dcmread(one.item.path) for one in healthy.images]
    heights = [float(one.ImagePositionPatient[2]) for one in slices]
    assert np.allclose(np.diff(heights), slices[0].SliceThickness)
    sums = [
        sum(int(pydicom.dcmread(one.item.path).pixel_array.sum()) for one in study.images)
        for study in (healthy, ill)
    ]
    assert sums[0] < sums[1]


def test_own_studies_are_sent_as_copies_under_new_uids_and_names(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    originals = [dx(study="own", instance=number) for number in (1, 2)]
    for number, dataset in enumerate(originals):
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    (folder / "letter.txt").write_text("no DICOM")
    own = own_studies(folder)
    assert [len(one) for one in own["DX"]] == [2]
    maker = Maker(tmp_path / "made", 1, 32, own)
    for number in (0, 1):
        study = maker.make(number, Arrival(0, "DX", "CHEST", 1, abnormal=False), NOW)
        copies = [pydicom.dcmread(one.item.path) for one in study.images]
        assert [one.PixelData for one in copies] == [one.PixelData for one in originals]
        assert len({one.SeriesInstanceUID for one in copies}) == 1
        for copy, original in zip(copies, originals, strict=True):
            assert copy.StudyInstanceUID != original.StudyInstanceUID
            assert copy.SOPInstanceUID != original.SOPInstanceUID
            assert copy.PatientID.startswith("SIM-")
            assert "Canary" not in str(copy)
