"""Assessed studies made of files: pydicom's own test images, and generated ones."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from triage.errors import Reason
from triage.finding import Assessment, Calibration, Decision, Detection, Detector, Outcome
from triage.outputs.context import ReportContext
from triage.settings import Reporting
from triage.study import Image, InstanceRef, Patient, Series, Study, StudyRef

NOW = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)
DETECTOR = Detector("chest-ct-memae", "memae", "1.2.0", "a" * 64, "b" * 64)
CALIBRATION = Calibration("CT/CHEST/adult", 412, ("CT/CHEST/adult/ACME",), "c" * 64)
DX = "1.2.840.10008.5.1.4.1.1.1.1"
US_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"


def context(mode: str = "triage", **changes: object) -> ReportContext:
    given: dict[str, object] = {
        "site_key": bytes(range(32)),
        "reporting": Reporting(manufacturer="Acme Triage", institution_name="St. Elsewhere"),
        "mode": mode,
        "version": "0.1.0",
        "now": NOW,
        **changes,
    }
    return ReportContext(**given)  # type: ignore[arg-type]


def bundled(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path)


def generated(path: Path, sop_class_uid: str, **attributes: object) -> Path:
    """Write a small grey image of any class; ``attributes`` are DICOM keywords."""
    image = Dataset()
    frames = int(str(attributes.get("NumberOfFrames", 1)))
    given = {
        "SOPClassUID": sop_class_uid,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "Modality": "DX",
        "Rows": 8,
        "Columns": 8,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        **attributes,
    }
    with pydicom.config.disable_value_validation():
        for keyword, value in given.items():
            setattr(image, keyword, value)
    image.PixelData = np.zeros((frames, 8, 8), np.uint8).tobytes()
    return written(image, path)


def written(image: Dataset, path: Path) -> Path:
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    with pydicom.config.disable_value_validation():
        image.save_as(path, enforce_file_format=True)
    return path


def altered(source: Path, path: Path, change: Callable[[Dataset], None]) -> Path:
    """Copy a file with its header changed."""
    image = pydicom.dcmread(source)
    change(image)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path


def study_of(paths: Sequence[Path], generation: int = 1) -> Study:
    """Read a study from files, as far as reports need it."""
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _study_of(paths, generation)


def _study_of(paths: Sequence[Path], generation: int) -> Study:
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    refs = tuple(
        InstanceRef(str(one.SOPInstanceUID), hashlib.sha256(path.read_bytes()).hexdigest(), path)
        for one, path in zip(headers, paths, strict=True)
    )
    first = headers[0]
    return Study(
        ref=StudyRef(1, str(first.StudyInstanceUID), generation, "quiet period 5 s", refs),
        patient=Patient(
            patient_id=str(first.get("PatientID", "")),
            issuer_of_patient_id=str(first.get("IssuerOfPatientID", "")),
            patient_name=str(first.get("PatientName", "")),
            patient_birth_date=str(first.get("PatientBirthDate", "")),
            patient_sex=str(first.get("PatientSex", "")),
        ),
        patient_age_years=None,
        study_date=str(first.get("StudyDate", "")),
        study_time=str(first.get("StudyTime", "")),
        study_id=str(first.get("StudyID", "")),
        accession_number=str(first.get("AccessionNumber", "")),
        referring_physician_name=str(first.get("ReferringPhysicianName", "")),
        study_description=str(first.get("StudyDescription", "")),
        series=_series(headers, refs),
        others=(),
    )


def _series(headers: Sequence[Dataset], refs: Sequence[InstanceRef]) -> tuple[Series, ...]:
    uids = dict.fromkeys(str(one.SeriesInstanceUID) for one in headers)
    return tuple(
        _one_series([(one, ref) for one, ref in zip(headers, refs, strict=True)
                     if one.SeriesInstanceUID == uid])
        for uid in uids
    )  # fmt: skip


def _one_series(members: Sequence[tuple[Dataset, InstanceRef]]) -> Series:
    first = members[0][0]
    number = first.get("SeriesNumber")
    return Series(
        series_instance_uid=str(first.SeriesInstanceUID),
        modality=str(first.Modality),
        sop_class_uid=str(first.SOPClassUID),
        series_number=None if number is None else int(number),
        series_description=str(first.get("SeriesDescription", "")),
        body_part_examined="",
        view_position="",
        protocol_name="",
        image_type=(),
        manufacturer="",
        manufacturer_model_name="",
        station_name="",
        frame_of_reference_uid="",
        slice_positions_mm=(),
        images=tuple(_image(one, ref) for one, ref in members),
    )


def _image(header: Dataset, ref: InstanceRef) -> Image:
    return Image(
        ref=ref,
        sop_class_uid=str(header.SOPClassUID),
        transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
        instance_number=int(header.get("InstanceNumber") or 1),
        rows=int(header.Rows),
        columns=int(header.Columns),
        number_of_frames=int(header.get("NumberOfFrames") or 1),
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        image_position_mm=None,
        image_orientation=None,
        pixel_spacing_mm=None,
    )


def assessed(
    paths: Sequence[Path],
    *,
    score: float = 3.25,
    p_value: float = 0.0125,
    prioritised: bool = True,
    generation: int = 1,
) -> Assessment:
    """Give an assessment with one detection a series."""
    study = study_of(paths, generation)
    detections = tuple(
        Detection(
            detector=DETECTOR,
            calibration=CALIBRATION,
            series_instance_uid=series.series_instance_uid,
            sop_instance_uids=tuple(one.ref.sop_instance_uid for one in series.images),
            key_sop_instance_uid=series.images[0].ref.sop_instance_uid,
            score=score,
            p_value=p_value,
        )
        for series in study.series
    )
    decision = Decision(
        outcome=Outcome.PRIORITISED if prioritised else Outcome.NOT_PRIORITISED,
        priority=2 if prioritised else 0,
        priority_name="high" if prioritised else "",
        sentence="Stranger than 98.8 % of 412 healthy studies." if prioritised else "Not flagged.",
        because=detections[0],
    )
    return Assessment(study, detections, decision)


def not_analysed(paths: Sequence[Path], code: str = "no-detector") -> Assessment:
    reason = Reason(code)
    decision = Decision(
        Outcome.NOT_ANALYSED, 0, "", f"Not analysed. {reason.meaning}.", None, reason
    )
    return Assessment(study_of(paths), (), decision)
