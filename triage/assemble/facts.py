"""One instance's header as plain facts, so that thousands of them fit in memory."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from pydicom import Dataset

from triage.assemble.header import age_years, integer, items, numbers, text, texts
from triage.study import Image, InstanceRef, Patient

NOT_SOURCE_IMAGES: Final = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.30",
        "1.2.840.10008.5.1.4.1.1.66.4",
        "1.2.840.10008.5.1.4.1.1.66.7",
        "1.2.840.10008.5.1.4.1.1.481.2",
    }
)
"""Parametric Map, Segmentation, Label Map Segmentation, RT Dose: pixels, but results."""
BODY_PARTS: Final = {
    **dict.fromkeys(("51185008", "43799004", "T-D3000"), "CHEST"),
    **dict.fromkeys(("39607008", "T-28000"), "LUNG"),
    **dict.fromkeys(("69536005", "T-D1100"), "HEAD"),
    **dict.fromkeys(("12738006", "T-A0100"), "BRAIN"),
    **dict.fromkeys(("89546000", "T-11100"), "SKULL"),
    **dict.fromkeys(("45048000", "T-D1600"), "NECK"),
    **dict.fromkeys(("113345001", "T-D4000"), "ABDOMEN"),
    **dict.fromkeys(("12921003", "T-D6000"), "PELVIS"),
    **dict.fromkeys(("76752008", "T-04000"), "BREAST"),
}
"""Anatomic region code, SNOMED CT or SRT -> Body Part Examined (PS3.16 Annex L)."""


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What the header says about its series."""

    series_instance_uid: str
    modality: str
    sop_class_uid: str
    series_number: int | None
    series_description: str
    body_part_examined: str
    protocol_name: str
    manufacturer: str
    manufacturer_model_name: str
    station_name: str
    frame_of_reference_uid: str
    institution_name: str


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What the header says about its study."""

    patient: Patient
    patient_age_years: float | None
    study_date: str
    study_time: str
    study_id: str
    accession_number: str
    referring_physician_name: str
    study_description: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance: an image of its series, or something else."""

    ref: InstanceRef
    series: SeriesFacts
    study: StudyFacts
    image: Image | None
    frame_positions_mm: tuple[tuple[float, ...], ...]
    """Image Position (Patient) of every frame; empty unless all frames have one."""


def instance(ref: InstanceRef, header: Dataset, *, has_pixels: bool) -> Instance:
    """Give the facts of one header. A bad value is an empty one."""
    series = _series(header)
    is_image = has_pixels and series.sop_class_uid not in NOT_SOURCE_IMAGES and "Rows" in header
    return Instance(
        ref=ref,
        series=series,
        study=_study(header),
        image=_image(ref, header) if is_image else None,
        frame_positions_mm=_frame_positions_mm(header) if is_image else (),
    )


def _series(header: Dataset) -> SeriesFacts:
    number = numbers(header, "SeriesNumber", 1)
    return SeriesFacts(
        series_instance_uid=text(header, "SeriesInstanceUID"),
        modality=text(header, "Modality").upper(),
        sop_class_uid=text(header, "SOPClassUID"),
        series_number=None if number is None else int(number[0]),
        series_description=text(header, "SeriesDescription"),
        body_part_examined=_body_part(header),
        protocol_name=text(header, "ProtocolName"),
        manufacturer=text(header, "Manufacturer"),
        manufacturer_model_name=text(header, "ManufacturerModelName"),
        station_name=text(header, "StationName"),
        frame_of_reference_uid=text(header, "FrameOfReferenceUID"),
        institution_name=text(header, "InstitutionName"),
    )


def _study(header: Dataset) -> StudyFacts:
    return StudyFacts(
        patient=Patient(
            patient_id=text(header, "PatientID"),
            issuer_of_patient_id=text(header, "IssuerOfPatientID"),
            patient_name=text(header, "PatientName"),
            patient_birth_date=text(header, "PatientBirthDate"),
            patient_sex=text(header, "PatientSex"),
        ),
        patient_age_years=age_years(header),
        study_date=text(header, "StudyDate"),
        study_time=text(header, "StudyTime"),
        study_id=text(header, "StudyID"),
        accession_number=text(header, "AccessionNumber"),
        referring_physician_name=text(header, "ReferringPhysicianName"),
        study_description=text(header, "StudyDescription"),
    )


def _image(ref: InstanceRef, header: Dataset) -> Image:
    position = numbers(_group(header, "PlanePositionSequence"), "ImagePositionPatient", 3)
    cosines = numbers(_group(header, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    measures = _group(header, "PixelMeasuresSequence")
    spacing = numbers(measures, "PixelSpacing", 2) or numbers(header, "ImagerPixelSpacing", 2)
    return Image(
        ref=ref,
        sop_class_uid=text(header, "SOPClassUID"),
        transfer_syntax_uid=_transfer_syntax(header),
        instance_number=integer(header, "InstanceNumber"),
        rows=integer(header, "Rows"),
        columns=integer(header, "Columns"),
        number_of_frames=integer(header, "NumberOfFrames", 1) or 1,
        samples_per_pixel=integer(header, "SamplesPerPixel", 1),
        photometric_interpretation=text(header, "PhotometricInterpretation"),
        image_position_mm=None if position is None else (position[0], position[1], position[2]),
        image_orientation=_orientation(cosines),
        pixel_spacing_mm=_spacing(spacing),
        image_type=tuple(value.upper() for value in texts(header, "ImageType")),
        view_position=_view(header),
    )


def _transfer_syntax(header: Dataset) -> str:
    meta = getattr(header, "file_meta", None)
    return text(meta, "TransferSyntaxUID") if isinstance(meta, Dataset) else ""


def _orientation(
    cosines: tuple[float, ...] | None,
) -> tuple[float, float, float, float, float, float] | None:
    """Give the cosines where they are two unit vectors at a right angle (PS3.3 C.7.6.2.1.1)."""
    if cosines is None:
        return None
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    gaps = (np.linalg.norm(row) - 1.0, np.linalg.norm(column) - 1.0, row @ column)
    if np.abs(gaps).max() > 0.01:
        return None
    return (cosines[0], cosines[1], cosines[2], cosines[3], cosines[4], cosines[5])


def _spacing(spacing: tuple[float, ...] | None) -> tuple[float, float] | None:
    if spacing is None or min(spacing) <= 0:
        return None
    return (spacing[0], spacing[1])


def _frame_positions_mm(header: Dataset) -> tuple[tuple[float, ...], ...]:
    frames = integer(header, "NumberOfFrames", 1) or 1
    if frames == 1:
        position = numbers(_group(header, "PlanePositionSequence"), "ImagePositionPatient", 3)
        return () if position is None else (position,)
    groups = items(header, "PerFrameFunctionalGroupsSequence")
    places = [place for group in groups for place in items(group, "PlanePositionSequence")[:1]]
    found = tuple(numbers(place, "ImagePositionPatient", 3) for place in places)
    known = tuple(position for position in found if position is not None)
    return known if len(known) == frames else ()


def _group(header: Dataset, keyword: str) -> Dataset:
    """Give the first frame's functional group, the shared one, or the header (PS3.3 C.7.6.16)."""
    for holder in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for groups in items(header, holder)[:1]:
            for found in items(groups, keyword)[:1]:
                return found
    return header


def _body_part(header: Dataset) -> str:
    stated = text(header, "BodyPartExamined").upper()
    if stated:
        return stated
    anatomy = _group(header, "FrameAnatomySequence")
    for region in (*items(header, "AnatomicRegionSequence"), *items(anatomy, _REGION))[:1]:
        meaning = text(region, "CodeMeaning").upper()
        return BODY_PARTS.get(text(region, "CodeValue"), meaning)
    return ""


def _view(header: Dataset) -> str:
    """Give View Position, else what the view code's meaning says (CID 4010)."""
    stated = text(header, "ViewPosition").upper()
    if stated:
        return stated
    for code in items(header, "ViewCodeSequence")[:1]:
        meaning = text(code, "CodeMeaning").lower().replace(" ", "").replace("-", "")
        if "lateral" in meaning or "oblique" in meaning:
            return "LATERAL"
        return {"anteroposterior": "AP", "posteroanterior": "PA"}.get(meaning, meaning.upper())
    return ""


_REGION: Final = "AnatomicRegionSequence"
