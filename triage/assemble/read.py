"""A study's files to a Study: checked, identified, grouped into series, put in order."""

import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from triage.assemble.facts import Instance, SeriesFacts, StudyFacts, instance
from triage.assemble.header import read_header
from triage.errors import Broken, Held
from triage.spool import digest
from triage.study import Image, InstanceRef, Patient, Series, Study, StudyRef, same_name

Fact = TypeVar("Fact", SeriesFacts, StudyFacts, Patient)


def read(ref: StudyRef) -> Study:
    """Read the headers of a closed set of instances; the order they came in does not matter.

    Raises:
        Broken: corrupt, when a file is gone or is not what was received; unparsable.
        Held: identity-conflict or no-patient.
    """
    for one in ref.instances:
        _check_content(one)
    known: dict[SeriesFacts | StudyFacts, Any] = {}
    with warnings.catch_warnings():
        # pydicom's warnings quote values from data sets.
        warnings.simplefilter("ignore")
        found = [_shared(_instance(one), known) for one in ref.instances]
    found.sort(key=_by_number)
    _check_identity(found)
    facts = _first_of_each([one.study for one in found])
    return Study(
        ref=ref,
        patient=_first_of_each([one.study.patient for one in found]),
        patient_age_years=facts.patient_age_years,
        study_date=facts.study_date,
        study_time=facts.study_time,
        study_id=facts.study_id,
        accession_number=facts.accession_number,
        referring_physician_name=facts.referring_physician_name,
        study_description=facts.study_description,
        series=tuple(_series(members) for members in _grouped(found)),
        others=tuple(one.ref for one in found if one.image is None),
    )


def _check_content(ref: InstanceRef) -> None:
    try:
        found = digest(ref.path)
    except FileNotFoundError:
        raise Broken(code="corrupt", detail="a stored file is gone") from None
    if found != ref.sha256:
        raise Broken(code="corrupt")


def _instance(ref: InstanceRef) -> Instance:
    header, has_pixels = read_header(ref.path)
    return instance(ref, header, has_pixels=has_pixels)


def _shared(one: Instance, known: dict[SeriesFacts | StudyFacts, Any]) -> Instance:
    """Let equal facts be one object: a study of thousands says the same thousands of times."""
    series = known.setdefault(one.series, one.series)
    return replace(one, series=series, study=known.setdefault(one.study, one.study))


def _check_identity(found: Sequence[Instance]) -> None:
    patients = {one.study.patient.patient_id for one in found}
    issuers = {one.study.patient.issuer_of_patient_id for one in found} - {""}
    if len(patients) > 1 or len(issuers) > 1:
        raise Held(code="identity-conflict")
    if patients <= {""}:
        raise Held(code="no-patient")
    _check_person([one.study.patient for one in found])


def _check_person(patients: Sequence[Patient]) -> None:
    """Refuse one Patient ID with two names or birth dates; what an instance lacks is no quarrel."""
    dates = {one.patient_birth_date for one in patients} - {""}
    names = sorted({one.patient_name for one in patients} - {""})
    if len(dates) > 1 or any(not same_name(names[0], one) for one in names[1:]):
        detail = "one Patient ID with two names or birth dates"
        raise Held(code="identity-conflict", detail=detail)


def _by_number(one: Instance) -> tuple[str, int, str]:
    number = one.image.instance_number if one.image else 0
    return one.series.series_instance_uid, number, one.ref.sop_instance_uid


def _grouped(found: Iterable[Instance]) -> list[list[Instance]]:
    """Give the images of each series, series by number, then UID."""
    groups: dict[str, list[Instance]] = defaultdict(list)
    for one in found:
        if one.image is not None:
            groups[one.series.series_instance_uid].append(one)
    return sorted(groups.values(), key=_series_order)


def _series_order(members: Sequence[Instance]) -> tuple[bool, int, str]:
    first = members[0].series
    return first.series_number is None, first.series_number or 0, first.series_instance_uid


def _series(members: Sequence[Instance]) -> Series:
    """Make the series of its images, which come by Instance Number, in geometric order."""
    places = _positions_mm(members)
    if places is not None:
        order = sorted(range(len(members)), key=lambda index: places[index][0])
        members = [members[index] for index in order]
    images = tuple(one.image for one in members if one.image is not None)
    facts = _first_of_each([one.series for one in members])
    return Series(
        series_instance_uid=facts.series_instance_uid,
        modality=facts.modality,
        sop_class_uid=facts.sop_class_uid,
        series_number=facts.series_number,
        series_description=facts.series_description,
        body_part_examined=facts.body_part_examined,
        view_position="\\".join(dict.fromkeys(image.view_position for image in images)),
        protocol_name=facts.protocol_name,
        image_type=_image_type(images),
        manufacturer=facts.manufacturer,
        manufacturer_model_name=facts.manufacturer_model_name,
        station_name=facts.station_name,
        frame_of_reference_uid=facts.frame_of_reference_uid,
        slice_positions_mm=tuple(sorted(mm for each in places or () for mm in each)),
        images=images,
        institution_name=facts.institution_name,
    )


def _positions_mm(members: Sequence[Instance]) -> list[list[float]] | None:
    """Give each image's frames along the slice normal; None unless all have a place.

    Source: PS3.3 C.7.6.2.1.1; the normal is that of the first image by number.
    """
    cosines = next((one.image.image_orientation for one in members if one.image), None)
    if cosines is None or not all(one.frame_positions_mm for one in members):
        return None
    normal = np.cross(cosines[:3], cosines[3:])
    normal /= np.linalg.norm(normal)
    return [sorted((np.array(one.frame_positions_mm) @ normal).tolist()) for one in members]


def _image_type(images: Sequence[Image]) -> tuple[str, ...]:
    first = images[0].image_type
    others = (value for image in images for value in image.image_type if value not in first)
    return (*first, *dict.fromkeys(others))


def _first_of_each(facts: Sequence[Fact]) -> Fact:
    """Give facts whose every field is the first that any header fills."""
    first = facts[0]
    if len(set(facts)) == 1:
        return first
    fields = type(first).__dataclass_fields__
    filled = {
        name: next(
            (value for one in facts if (value := getattr(one, name)) not in ("", None)), None
        )
        for name in fields
    }
    return replace(first, **{name: value for name, value in filled.items() if value is not None})
