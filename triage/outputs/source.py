"""The identity a report carries: read again from the very files it speaks about.

What is copied is copied as it was received; only the character set becomes UTF-8. Text that
describes is cut to its VR's length and dropped where it cannot be encoded legally; text that
identifies a patient, a study or an order is never cut.
"""

import struct
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import pydicom
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.valuerep import validate_value

from triage.errors import Broken, Held, TryAgain
from triage.finding import Assessment
from triage.study import InstanceRef, Study

TYPE_2: Final = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Must be there, may be empty (PS3.3 C.7.1.1, C.7.2.1)."""
OPTIONAL: Final = (
    "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientAge",
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "StudyDescription", "IssuerOfAccessionNumberSequence", "ProcedureCodeSequence",
    "TimezoneOffsetFromUTC",
)  # fmt: skip
_ORDER: Final = (
    "RequestAttributesSequence", "RequestedProcedureCodeSequence",
    "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
)  # fmt: skip
_PLACE: Final = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "Modality", "Rows", "Columns",
)  # fmt: skip
_NEVER_CUT: Final = frozenset(
    {
        "PatientName", "PatientID", "IssuerOfPatientID", "StudyID", "AccessionNumber",
        "ReferringPhysicianName", "RequestedProcedureID",
        "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
    }
)  # fmt: skip
_TEXT_LIMITS: Final = {
    "LO": 64,
    "SH": 16,
    "ST": 1024,
    "LT": 10_240,
    "PN": 64,
    "UT": None,
    "UC": None,
}
_SAME: Final = ("PatientID", "PatientName", "PatientBirthDate")
"""In what all instances of a study must agree, as far as they say anything."""
_UNREADABLE: Final = (
    InvalidDicomError, EOFError, ValueError, TypeError, KeyError, AttributeError,
    NotImplementedError, OverflowError, LookupError, struct.error, RecursionError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """What a report copies from the instances it speaks about."""

    header: Dataset
    """Patient, study and order attributes of the first instance, tidy, in UTF-8."""
    evidence: tuple[Dataset, ...]
    """One data set an instance: its UIDs, Modality, Rows and Columns."""


def read(assessment: Assessment) -> Source:
    """Open the headers again and check that they name one patient and one study.

    Raises:
        Held: the instances disagree with each other or with the study (identity-conflict).
        Broken: a file is gone or is no longer the instance it was.
        TryAgain: the disk did not answer.
    """
    study = assessment.study
    refs = _referenced(assessment)
    strict = bool(assessment.detections)
    headers = [header for ref in refs if (header := _open(ref, strict=strict)) is not None]
    if not headers:
        raise Broken(code="unparsable", detail="No instance of the study has a readable header")
    _same_patient(headers, study)
    return Source(_tidy(headers[0]), tuple(_placed(header) for header in headers))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep values from data sets out of warnings; identity is copied as it came, legal or not."""
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def clean(text: str, limit: int | None = None) -> str:
    """Drop control characters and cut to ``limit`` bytes of UTF-8.

    PS3.5 6.2 counts characters, but some readers count bytes.
    """
    kept = "".join(one for one in text if unicodedata.category(one) not in {"Cc", "Cs"}).strip()
    return kept if limit is None else kept.encode()[:limit].decode(errors="ignore").rstrip()


def _referenced(assessment: Assessment) -> tuple[InstanceRef, ...]:
    """Give the instances analysed; of a study that was not, all of them."""
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


def _open(ref: InstanceRef, *, strict: bool) -> Dataset | None:
    tags = [*TYPE_2, *OPTIONAL, *_ORDER, *_PLACE]
    try:
        header = pydicom.dcmread(ref.path, stop_before_pixels=True, specific_tags=list(tags))
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
        raise Broken(code="corrupt", detail="A stored file holds another instance than it should")
    return header


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


def is_value(header: Dataset, keyword: str, expected: str) -> bool:
    """Tell whether an element has this value; a backslash in an identifier makes several of one."""
    value = plain(header, keyword)
    return printable(expected) in {value, value.partition("\\")[0].strip()}


def plain(header: Dataset, keyword: str) -> str:
    """Give one element as printable text, "" when absent; values joined as DICOM does."""
    value = header.get(keyword)
    if value is None:
        return ""
    joined = "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)
    return printable(joined)


def printable(text: str) -> str:
    """Drop what cannot be printed and the padding."""
    return "".join(one for one in text if one.isprintable()).strip()


def _placed(header: Dataset) -> Dataset:
    place = Dataset()
    for keyword in _PLACE:
        value = header.get(keyword)
        setattr(place, keyword, value if value is not None else "")
    return place


def _tidy(header: Dataset) -> Dataset:
    """Give the copied attributes in UTF-8, each of TYPE_2 present, the others where legal."""
    tidy = Dataset()
    tidy.SpecificCharacterSet = "ISO_IR 192"
    for element in _tidied(header, (*TYPE_2, *OPTIONAL, *_ORDER)):
        tidy.add(element)
    for keyword in TYPE_2:
        if keyword not in tidy:
            setattr(tidy, keyword, "")
    if tidy.PatientSex not in {"M", "F", "O"}:
        tidy.PatientSex = ""
    tidy.ReferencedRequestSequence = _requests(tidy, str(header.StudyInstanceUID))
    for keyword in _ORDER:
        tidy.pop(keyword, None)
    return tidy


def _requests(header: Dataset, study_instance_uid: str) -> list[Dataset]:
    """Give the items of Referenced Request Sequence (PS3.3 Table C.17-2), none without an order."""
    numbers = ("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest")
    orders = list(header.get("RequestAttributesSequence", ()))
    if not orders and any(header.get(name) for name in ("AccessionNumber", *numbers)):
        orders = [Dataset()]
    items = []
    for order in orders:
        item = Dataset()
        item.StudyInstanceUID = study_instance_uid
        item.ReferencedStudySequence = []
        for keyword in ("AccessionNumber", *numbers):
            setattr(item, keyword, order.get(keyword) or header.get(keyword) or "")
        for keyword in ("RequestedProcedureID", "RequestedProcedureDescription"):
            setattr(item, keyword, order.get(keyword) or "")
        codes = order.get("RequestedProcedureCodeSequence")
        item.RequestedProcedureCodeSequence = list(
            codes or header.get("RequestedProcedureCodeSequence", ())
        )
        items.append(item)
    return items


def _tidied(dataset: Dataset, keywords: Iterable[str] | None = None) -> Iterator[DataElement]:
    """Give the elements that can be written legally, text decoded and cut to its VR's length."""
    for element in dataset:
        if element.keyword and (keywords is None or element.keyword in keywords):
            tidy = _element(element)
            if tidy is not None:
                yield tidy


def _element(element: DataElement) -> DataElement | None:
    if element.VR == "SQ":
        items = [item for item in map(_item, element.value) if len(item)]
        return DataElement(element.tag, "SQ", items) if items else None
    many = isinstance(element.value, MultiValue)
    values = [str(one) for one in (element.value if many else [element.value or ""])]
    if element.VR in _TEXT_LIMITS:
        limit = None if element.keyword in _NEVER_CUT else _TEXT_LIMITS[element.VR]
        values = [clean(one, limit) for one in values]
    else:
        try:
            for one in values:
                validate_value(element.VR, one, config.RAISE)
        except (ValueError, TypeError):
            return None
    value = values if many else values[0]
    return DataElement(element.tag, element.VR, value, validation_mode=config.IGNORE)


def _item(item: Dataset) -> Dataset:
    tidy = Dataset()
    for element in _tidied(item):
        tidy.add(element)
    return tidy
