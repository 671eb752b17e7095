"""Elements of received files, made fit to be written again.

What is copied is copied as it was received; only the character set becomes UTF-8. Text that
describes is cut to its VR's length and dropped where it cannot be encoded legally; text that
identifies a patient, a study or an order is never cut.
"""

import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import validate_value

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
ORDER: Final = (
    "RequestAttributesSequence", "RequestedProcedureCodeSequence",
    "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
)  # fmt: skip
_OFFSET: Final = re.compile(r"[+-](?:0[0-9]|1[0-4])[0-5][0-9]")
"""PS3.3 C.12.1.1.8: from -1200 to +1400."""
_METHODS: Final = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
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
    if text.isprintable():
        return text.strip()
    return "".join(one for one in text if one.isprintable()).strip()


def tidied(headers: Sequence[Dataset]) -> Dataset:
    """Give the copied attributes in UTF-8, each of TYPE_2 present, the others where legal.

    Every value is the first header's, or where that is empty, the first one's that has it. Each
    order that any header names is an item of Referenced Request Sequence.
    """
    tidy = Dataset()
    tidy.SpecificCharacterSet = "ISO_IR 192"
    requests: list[Dataset] = []
    for header in headers:
        one = Dataset()
        for element in _tidied(header, (*TYPE_2, *OPTIONAL, *ORDER)):
            one.add(element)
        requests += _requests(one, plain(header, "StudyInstanceUID"))
        for element in one:
            if element.keyword not in ORDER and not tidy.get(element.keyword):
                tidy.add(element)
    for keyword in TYPE_2:
        if keyword not in tidy:
            setattr(tidy, keyword, "")
    _drop_what_is_none(tidy)
    _say_how_identity_was_removed(tidy)
    tidy.ReferencedRequestSequence = _distinct(requests)
    return tidy


def _drop_what_is_none(tidy: Dataset) -> None:
    """Leave out a sex and an offset that are none of those that PS3.3 knows."""
    if tidy.PatientSex not in {"M", "F", "O"}:
        tidy.PatientSex = ""
    if not _OFFSET.fullmatch(tidy.get("TimezoneOffsetFromUTC") or ""):
        tidy.pop("TimezoneOffsetFromUTC", None)


def _say_how_identity_was_removed(tidy: Dataset) -> None:
    """Where identity was removed the method must be there (PS3.3 C.7.1.1); many say none."""
    for keyword in ("PatientIdentityRemoved", "DeidentificationMethod"):
        if not tidy.get(keyword):
            tidy.pop(keyword, None)
    removed = tidy.get("PatientIdentityRemoved") == "YES"
    if removed and not any(tidy.get(keyword) for keyword in _METHODS):
        tidy.DeidentificationMethod = "Not stated by the source"


def _distinct(items: Sequence[Dataset]) -> list[Dataset]:
    return [item for index, item in enumerate(items) if item not in items[:index]]


def _requests(header: Dataset, study_instance_uid: str) -> list[Dataset]:
    """Give the items of Referenced Request Sequence (PS3.3 Table C.17-2), none without an order."""
    numbers = ("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest")
    orders = list(header.get("RequestAttributesSequence", ()))
    if not orders and any(header.get(name) for name in ("AccessionNumber", *numbers)):
        orders = [Dataset()]
    return [_request(order, header, study_instance_uid) for order in orders]


def _request(order: Dataset, header: Dataset, study_instance_uid: str) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = study_instance_uid
    item.ReferencedStudySequence = []
    for keyword in (
        "AccessionNumber",
        "PlacerOrderNumberImagingServiceRequest",
        "FillerOrderNumberImagingServiceRequest",
    ):
        setattr(item, keyword, order.get(keyword) or header.get(keyword) or "")
    for keyword in ("RequestedProcedureID", "RequestedProcedureDescription"):
        setattr(item, keyword, order.get(keyword) or "")
    codes = order.get("RequestedProcedureCodeSequence")
    item.RequestedProcedureCodeSequence = list(
        codes or header.get("RequestedProcedureCodeSequence", ())
    )
    return item


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
    """Give an item of a sequence without what is empty in it: most of its elements may not be."""
    tidy = Dataset()
    for element in _tidied(item):
        if not element.is_empty:
            tidy.add(element)
    return tidy
