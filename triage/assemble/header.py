"""Read the wanted elements of one header, and never stumble over a bad one."""

import re
import struct
import zlib
from collections.abc import Sequence
from datetime import date, datetime
from math import isfinite
from pathlib import Path
from typing import Any, Final

from pydicom import Dataset, FileDataset
from pydicom.datadict import tag_for_keyword
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import Tag

from triage.errors import Broken

UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom raises when the bytes are not what they claim to be."""
WANTED: Final = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID"),
    *("StudyDate", "StudyTime", "AccessionNumber", "Modality", "Manufacturer"),
    "InstitutionName",
    *("ReferringPhysicianName", "StationName", "StudyDescription", "SeriesDescription"),
    *("ManufacturerModelName", "AnatomicRegionSequence", "PatientName", "PatientID"),
    *("IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("BodyPartExamined", "ProtocolName", "ImagerPixelSpacing", "ViewPosition"),
    *("StudyInstanceUID", "SeriesInstanceUID", "StudyID", "SeriesNumber", "InstanceNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"),
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns"),
    *("PixelSpacing", "ViewCodeSequence", "SharedFunctionalGroupsSequence"),
    "PerFrameFunctionalGroupsSequence",
)
_PIXEL_DATA: Final = 0x7FE00008
"""Float Pixel Data, the first of the three pixel elements."""
_DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
_MAX_INFLATED_BYTES: Final = 2**29
_DAYS_A_YEAR: Final = 365.25
_AGE_UNITS: Final = {"D": 1 / _DAYS_A_YEAR, "W": 7 / _DAYS_A_YEAR, "M": 1 / 12, "Y": 1.0}
_TAGS: Final[list[Any]] = [Tag(tag_for_keyword(keyword) or 0) for keyword in WANTED]


def read_header(path: Path) -> tuple[FileDataset, bool]:
    """Give the wanted elements of a file, and whether pixel data follows them.

    Raises:
        Broken: unparsable, when it is not DICOM; resource-limit, when it inflates without end.
    """
    found = False

    def ends(tag: int, _vr: str | None, _length: int) -> bool:
        nonlocal found
        found = tag >= _PIXEL_DATA
        return found

    try:
        _check_inflation(path)
        with path.open("rb") as file:
            header = read_partial(file, stop_when=ends, force=False, specific_tags=_TAGS)
    except UNREADABLE:
        raise Broken(code="unparsable") from None
    return header, found


def text(header: Dataset, keyword: str) -> str:
    """Give a value as text; empty when it is absent or unreadable. The first of several."""
    values = texts(header, keyword)
    return values[0] if values else ""


def texts(header: Dataset, keyword: str) -> tuple[str, ...]:
    """Give all values as text; none when absent or unreadable."""
    value = _value(header, keyword)
    if value is None or isinstance(value, bytes):
        return ()
    try:
        several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        return tuple(str(one).replace("\x00", "").strip() for one in several)
    except UNREADABLE:
        return ()


def numbers(header: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Give exactly ``count`` finite numbers, else None."""
    values = texts(header, keyword)
    try:
        found = tuple(float(value) for value in values)
    except ValueError:
        return None
    return found if len(found) == count and all(isfinite(one) for one in found) else None


def integer(header: Dataset, keyword: str, default: int = 0) -> int:
    """Give a whole number, else ``default``."""
    found = numbers(header, keyword, 1)
    return default if found is None else int(found[0])


def items(header: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Give a sequence's items; none when absent or unreadable."""
    value = _value(header, keyword)
    if value is None or isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return ()
    try:
        return tuple(one for one in value if isinstance(one, Dataset))
    except UNREADABLE:
        return ()


def age_years(header: Dataset) -> float | None:
    """Give Patient's Age (AS, PS3.5 6.2), else the time from birth to study date, else None."""
    stated = re.fullmatch(r"(\d{3})([DWMY])", text(header, "PatientAge"))
    if stated:
        return int(stated[1]) * _AGE_UNITS[stated[2]]
    born, studied = _date(header, "PatientBirthDate"), _date(header, "StudyDate")
    if born is None or studied is None or studied < born:
        return None
    return (studied - born).days / _DAYS_A_YEAR


def _value(header: Dataset, keyword: str) -> Any:  # noqa: ANN401 - pydicom's values
    try:
        return header.get(keyword)
    except UNREADABLE:
        return None


def _date(header: Dataset, keyword: str) -> date | None:
    try:
        return datetime.strptime(text(header, keyword), "%Y%m%d").date()  # noqa: DTZ007 - DA has no zone
    except ValueError:
        return None


def _check_inflation(path: Path) -> None:
    """Refuse a deflated data set that grows beyond the limit, before pydicom inflates it whole."""
    with path.open("rb") as file:
        head = file.read(1024)
        if _DEFLATED not in head:
            return
        # File Meta Information Group Length (PS3.10 7.1) says where the deflated part begins.
        file.seek(144 + int.from_bytes(head[140:144], "little"))
        inflate, grown = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while chunk := inflate.unconsumed_tail or file.read(1 << 16):
            grown += len(inflate.decompress(chunk, 1 << 20))
            if grown > _MAX_INFLATED_BYTES:
                raise Broken(code="resource-limit", detail="the deflated data set is too large")
