"""The identity a report carries: read again from the very files it speaks about."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from triage.errors import Broken, Held, TryAgain
from triage.finding import Assessment
from triage.outputs.glance import IDENTITY, PLACE, Glance, glance
from triage.outputs.tidy import OPTIONAL, ORDER, TYPE_2, is_value, plain, quiet, tidied
from triage.study import InstanceRef, Study

__all__ = ["Place", "Source", "header_of", "quiet", "read", "referenced"]

_PLACE: Final = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "Modality", "Rows", "Columns",
)  # fmt: skip
_SAME: Final = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber",
)  # fmt: skip
"""In what all instances of a study must agree, as far as they say anything."""
_SOP_INSTANCE_UID: Final = 0x00080018
_TAGS: Final = (*TYPE_2, *OPTIONAL, *ORDER, *_PLACE)
_ANOTHER: Final = "A stored file holds another instance than it should"
_UNREADABLE: Final = (
    InvalidDicomError, EOFError, ValueError, TypeError, KeyError, AttributeError,
    NotImplementedError, OverflowError, LookupError, struct.error, RecursionError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Which instance an image is, and how large."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    modality: str
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Source:
    """What a report copies from the instances it speaks about."""

    header: Dataset
    """Patient, study and order attributes, tidy, in UTF-8."""
    study_instance_uid: str
    evidence: tuple[Place, ...]
    """One an instance, in the order of the assessment."""

    @property
    def modality(self) -> str:
        """Give the first image's modality."""
        return self.evidence[0].modality


def read(assessment: Assessment) -> Source:
    """Open the headers again and check that they name one patient, one study and one order number.

    Raises:
        Held: the instances disagree with each other or with the study (identity-conflict).
        Broken: a file is gone or is no longer the instance it was.
        TryAgain: the disk did not answer.
    """
    study = assessment.study
    refs = referenced(assessment)
    strict = bool(assessment.detections)
    distinct: dict[Any, Dataset] = {}
    places: list[Place] = []
    short: Glance | None = None
    for ref in refs:
        short = glance(ref.path, short)
        if (one := _seen(ref, short, distinct, strict=strict)) is not None:
            places.append(one)
    if not places:
        raise Broken(code="unparsable", detail="No instance of the study has a readable header")
    headers = list(distinct.values())
    _same_patient(headers, study)
    return Source(tidied(headers), study.ref.study_instance_uid, tuple(places))


def referenced(assessment: Assessment) -> tuple[InstanceRef, ...]:
    """Give the instances analysed; of a study that was not, all of them.

    Raises:
        Broken: a detection names an instance that is not the study's.
    """
    refs = {ref.sop_instance_uid: ref for ref in assessment.study.ref.instances}
    if not assessment.detections:
        return tuple(refs.values())
    uids = dict.fromkeys(
        uid for detection in assessment.detections for uid in detection.sop_instance_uids
    )
    unknown = sum(uid not in refs for uid in uids)
    if unknown:
        detail = f"{unknown} analysed instances do not belong to the study"
        raise Broken(code="internal", detail=detail)
    return tuple(refs[uid] for uid in uids)


def header_of(
    ref: InstanceRef, keywords: Sequence[str] | None = None, *, strict: bool = True
) -> Dataset | None:
    """Give a stored file's header, or some of its elements; None when unreadable and not strict.

    Raises:
        Broken: the file is gone, unreadable, or another instance.
        TryAgain: the disk did not answer.
    """
    tags: Any = None if keywords is None else list(keywords)
    try:
        header = pydicom.dcmread(ref.path, stop_before_pixels=True, specific_tags=tags)
        same = header.SOPInstanceUID == ref.sop_instance_uid
    except FileNotFoundError:
        raise Broken(code="corrupt", detail="A stored file is missing") from None
    except _UNREADABLE:
        if not strict:
            return None
        raise Broken(code="corrupt", detail="A stored file is no longer readable") from None
    except OSError as why:
        msg = f"reading a header failed: {why.strerror}"
        raise TryAgain(msg) from None
    if not same:
        raise Broken(code="corrupt", detail=_ANOTHER)
    return header


def _seen(
    ref: InstanceRef, short: Glance | None, distinct: dict[Any, Dataset], *, strict: bool
) -> Place | None:
    """Give an instance's place, and keep its header if no other says the same of whose it is.

    Hundreds of slices say the same in the same bytes; one of them is read whole.
    """
    if short is not None and short.identity in distinct:
        if short.text(_SOP_INSTANCE_UID) != ref.sop_instance_uid:
            raise Broken(code="corrupt", detail=_ANOTHER)
        return _place_of(short)
    header = header_of(ref, _TAGS, strict=strict)
    if header is None:
        return None
    if short is not None:
        distinct[short.identity] = header
    else:
        distinct.setdefault((header.original_encoding, *_raw(header)), header)
    return _place(header)


def _place_of(short: Glance) -> Place:
    sop_class, instance, series, modality, rows, columns = PLACE
    return Place(
        sop_class_uid=short.text(sop_class),
        sop_instance_uid=short.text(instance),
        series_instance_uid=short.text(series),
        modality=short.text(modality),
        rows=short.number(rows),
        columns=short.number(columns),
    )


def _raw(header: Dataset) -> list[Any]:
    elements = [header.get_item(tag) for tag in IDENTITY if tag in header]
    return [(one.tag, one.value if one.is_raw else repr(one.value)) for one in elements]


def _same_patient(headers: Sequence[Dataset], study: Study) -> None:
    """Hold the study unless every instance names the same patient and the same study."""
    known = study.patient
    seen: dict[str, set[str]] = {keyword: set() for keyword in _SAME}
    for header in headers:
        ours = is_value(header, "PatientID", known.patient_id) and is_value(
            header, "IssuerOfPatientID", known.issuer_of_patient_id
        )
        if not ours:
            raise Held(
                code="identity-conflict", detail="The instances name another patient than the study"
            )
        if plain(header, "StudyInstanceUID") != study.ref.study_instance_uid:
            raise Held(code="identity-conflict", detail="An instance belongs to another study")
        for keyword, values in seen.items():
            values.add(plain(header, keyword).rstrip("^= ").casefold())
    for keyword, values in seen.items():
        if len(values - {""}) > 1:
            raise Held(code="identity-conflict", detail=f"The instances disagree in {keyword}")


def _place(header: Dataset) -> Place:
    return Place(
        sop_class_uid=plain(header, "SOPClassUID"),
        sop_instance_uid=plain(header, "SOPInstanceUID"),
        series_instance_uid=plain(header, "SeriesInstanceUID"),
        modality=plain(header, "Modality"),
        rows=int(header.get("Rows") or 0),
        columns=int(header.get("Columns") or 0),
    )
