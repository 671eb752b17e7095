"""HL7 v2.5.1 fields written from DICOM values: names, identifiers, times, codes, numbers, text.

Each function gives a field as it stands in the message, its delimiters escaped (chapter 2.7).
"""

import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

SEPARATOR: Final = "|"
ENCODING: Final = "^~\\&"
CHARACTER_SET: Final = "UNICODE UTF-8"
"""Table 0211."""
_ESCAPES: Final = str.maketrans(
    {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
)
_SYSTEMS: Final = {"UMLS": "UML"}
"""Table 0396, where DICOM's designator is another; 99 and letters is local in both."""
_SEX: Final = {"F", "M", "O"}
_DATE: Final = re.compile(r"\d{8}")
_TIME: Final = re.compile(r"(\d{6}|\d{4})(\.\d{1,4})?\d*")
_OFFSET: Final = re.compile(r"[+-]\d{4}")


def plain(value: object) -> str:
    """Give text in one line: what controls a printer or could end a message becomes a space."""
    spaced = (" " if unicodedata.category(one) in {"Cc", "Cs"} else one for one in str(value))
    return "".join(spaced).strip()


def text(value: object) -> str:
    """Give plain text with the five delimiters escaped."""
    return plain(value).translate(_ESCAPES)


def parts(*components: object) -> str:
    """Join components that are not escaped yet, without empty ones at the end."""
    return "^".join(text(one) for one in components).rstrip("^")


def coded(code: Code) -> str:
    """Give CE or CWE: identifier, text, coding system."""
    system = _SYSTEMS.get(code.scheme_designator, code.scheme_designator)
    return parts(code.value, code.meaning, system)


def number(value: float) -> str:
    """Give NM: the shortest digits that read back to the same number, never an exponent."""
    digits = format(Decimal(repr(value)), "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def moment(at: datetime) -> str:
    """Give TS of an aware time, to the second."""
    return at.strftime("%Y%m%d%H%M%S%z")


def study_moment(header: Dataset) -> str:
    """Give TS of Study Date and Study Time, as far as they are legal; with the zone if known."""
    date, time = str(header.get("StudyDate") or ""), str(header.get("StudyTime") or "")
    if not _DATE.fullmatch(date):
        return ""
    if not (clock := _TIME.fullmatch(time)):
        return date
    fraction = clock[2] if clock[2] and len(clock[1]) == len("HHMMSS") else ""
    offset = str(header.get("TimezoneOffsetFromUTC") or "")
    return date + clock[1] + (fraction or "") + (offset if _OFFSET.fullmatch(offset) else "")


def person(name: object) -> str:
    """Give XPN, one repetition a representation: PN's prefix and suffix change places.

    PID-5 must be there: a patient without a name has one of the type "unspecified" (table 0200).
    """
    return "~".join(_representations(str(name))) or parts("", "", "", "", "", "", "U")


def _representations(name: str) -> Iterator[str]:
    for group, code in zip(name.split("="), "AIP", strict=False):
        family, given, middle, prefix, suffix = (*group.split("^"), "", "", "", "", "")[:5]
        if family or given or middle:
            yield parts(family, given, middle, suffix, prefix, "", "L", code)


def patient_id(header: Dataset) -> str:
    """Give CX: the identifier and who assigned it (PS3.3 Table 10-18)."""
    qualifiers = next(iter(header.get("IssuerOfPatientIDQualifiersSequence", ())), Dataset())
    issuer = [
        text(header.get("IssuerOfPatientID") or ""),
        text(qualifiers.get("UniversalEntityID") or ""),
        text(qualifiers.get("UniversalEntityIDType") or ""),
    ]
    return "^".join(
        (text(header.get("PatientID") or ""), "", "", "&".join(issuer).rstrip("&"), "PI")
    )


def sex(header: Dataset) -> str:
    """Give table 0001's letter."""
    value = str(header.get("PatientSex") or "")
    return value if value in _SEX else "U"


def birth_date(header: Dataset) -> str:
    """Give TS of a birth date, if it is one."""
    value = str(header.get("PatientBirthDate") or "")
    return value if _DATE.fullmatch(value) else ""


def oid(uid: str, name: str = "") -> str:
    """Give EI of something that has a UID, and perhaps a name."""
    return parts(name or uid, "", uid, "ISO")
