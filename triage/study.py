"""A study as it is on disk: headers and places, no pixels. Field names are DICOM keywords."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class InstanceRef:
    """One received SOP instance and where its bytes rest."""

    sop_instance_uid: str
    sha256: str
    """Of the content (``triage.spool.digest``): transfer syntax and data set, not the file meta,
    which says who sent it. Lower-case hexadecimal."""
    path: Path


@dataclass(frozen=True, slots=True)
class StudyRef:
    """A study as the database knows it: ids and files, nothing read yet."""

    id: int
    study_instance_uid: str
    generation: int
    """Counts the closed sets of instances this study has had, from 1."""
    evidence: str
    """What closed the generation: "quiet period 5 s", later "count" or "MPPS"."""
    instances: tuple[InstanceRef, ...]


@dataclass(frozen=True, slots=True)
class Patient:
    """The Patient module as received (PS3.3 C.7.1.1). Never logged."""

    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    """DA, as received; empty when absent."""
    patient_sex: str


@dataclass(frozen=True, slots=True)
class Image:
    """One image instance, headers only."""

    ref: InstanceRef
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: int
    rows: int
    columns: int
    number_of_frames: int
    samples_per_pixel: int
    photometric_interpretation: str
    image_position_mm: tuple[float, float, float] | None
    image_orientation: tuple[float, float, float, float, float, float] | None
    pixel_spacing_mm: tuple[float, float] | None
    """Between rows, between columns. Imager Pixel Spacing where Pixel Spacing is absent."""
    image_type: tuple[str, ...] = ()
    view_position: str = ""
    """From View Position, else in words from the view code; empty when neither is there."""


@dataclass(frozen=True, slots=True)
class Series:
    """One DICOM Series, headers only, its images in geometric order."""

    series_instance_uid: str
    modality: str
    sop_class_uid: str
    series_number: int | None
    series_description: str
    body_part_examined: str
    """Upper case. From Body Part Examined, else from the anatomic region code, else empty."""
    view_position: str
    """Of the images, each once, joined by a backslash."""
    protocol_name: str
    image_type: tuple[str, ...]
    """Of the first image, followed by values that only other images have."""
    manufacturer: str
    manufacturer_model_name: str
    station_name: str
    frame_of_reference_uid: str
    slice_positions_mm: tuple[float, ...]
    """Image Position (Patient) projected on the slice normal, sorted. PS3.3 C.7.6.2.1.1.
    Empty for projection images."""
    images: tuple[Image, ...]
    institution_name: str = ""


@dataclass(frozen=True, slots=True)
class Study:
    """One DICOM Study at one generation: its patient, its series, and the other instances."""

    ref: StudyRef
    patient: Patient
    patient_age_years: float | None
    """From Patient's Age, else birth date and study date; None when neither is there."""
    study_date: str
    study_time: str
    study_id: str
    accession_number: str
    referring_physician_name: str
    study_description: str
    series: tuple[Series, ...]
    """Series that hold images."""
    others: tuple[InstanceRef, ...]
    """Instances that are not images (SR, KO, PR, RT, waveforms)."""

    def images(self) -> Iterator[Image]:
        """Give every image of the study, series by series."""
        for series in self.series:
            yield from series.images


def same_name(one: str, other: str) -> bool:
    """Tell whether two person names (PS3.5 6.2, PN) agree; what one of them lacks is no quarrel.

    Family and given name of the alphabetic group count; case and padding do not.
    """
    first, second = _spoken(one), _spoken(other)
    return not first[0] or not second[0] or all(
        a == b or not a or not b for a, b in zip(first, second, strict=True)
    )  # fmt: skip


def _spoken(name: str) -> tuple[str, str]:
    family, _, rest = name.partition("=")[0].partition("^")
    return " ".join(family.upper().split()), " ".join(rest.partition("^")[0].upper().split())
