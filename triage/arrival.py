"""What the index needs to know of one received file, read from its header."""

import hashlib
import json
import struct
import warnings
import zlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import DeflatedExplicitVRLittleEndian

from triage import IMPLEMENTATION_CLASS_UID

REQUIRED: Final = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")
IDENTITY: Final = {
    "patient_id": "PatientID",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "accession_number": "AccessionNumber",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "study_description": "StudyDescription",
}
SITE: Final = "InstitutionName"
SERIES: Final = ("Modality", "BodyPartExamined", "StationName", "SeriesDescription")
URGENCY: Final = ("RequestedProcedurePriority",)
NOTE: Final = ("ConceptNameCodeSequence", "CurrentRequestedProcedureEvidenceSequence")
"""Of a key object selection: its title, and the instances that it is about."""
KEY_OBJECTS: Final = "1.2.840.10008.5.1.4.1.1.88.59"
REJECTIONS: Final = frozenset(("113001", "113037", "113038", "113039"))
"""Titles (DCM, CID 7011) that reject: for quality, for patient safety, an incorrect modality
worklist entry, data retention expired (IHE IOCM)."""
WANTED: Final = [*REQUIRED, *IDENTITY.values(), SITE, *SERIES, *URGENCY]
READ_ERRORS: Final = (
    InvalidDicomError, OSError, EOFError, ValueError, TypeError, KeyError, AttributeError,
    NotImplementedError, OverflowError, LookupError, struct.error, RecursionError, zlib.error,
    BytesLengthException,
)  # fmt: skip
LENGTHS: Final = {
    "AE": 16, "CS": 16, "DA": 10, "LO": 64, "PN": 3 * 64 + 2, "SH": 16, "TM": 16, "UI": 64,
}  # fmt: skip
"""Characters of one value (PS3.5 6.2): three groups of a name, ACR-NEMA's dates and times, too. The
index keeps no more of a text: an index of PostgreSQL takes no key beyond 2,704 bytes."""
DESCRIPTIONS: Final = dict.fromkeys(("StudyDescription", "SeriesDescription"), 1024)
"""These are no keys, and what is written too long often says how urgent it is at its end."""
TELLING: Final = frozenset((
    "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex",
    "AccessionNumber",
))  # fmt: skip
"""Who it is. Two of these that only begin alike are not the same."""
PIXEL_DATA: Final = {b"\xe0\x7f\x10\x00": "<", b"\x7f\xe0\x00\x10": ">"}
"""Tag (7FE0,0010) in both byte orders."""
UNDEFINED: Final = 0xFFFF_FFFF
CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Passage:
    """How a file came in, as the listener wrote it down; empty where the file does not tell."""

    association_id: str = ""
    opened_at: datetime | None = None
    spooled_at: datetime | None = None
    called_ae_title: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the index needs to know of one received file."""

    sha256: str
    size_bytes: int
    transfer_syntax_uid: str
    source_ae_title: str
    source_address: str
    values: dict[str, str]
    """Keyword -> text, for every keyword of WANTED; no longer than the index takes it."""
    pixel_sha256: str = ""
    """Of Pixel Data's value; empty without one, deflated, or where all pixels are equal."""
    passage: Passage = Passage()
    rejects: tuple[str, tuple[str, ...]] = ("", ())
    """A rejection note's title code, and the SOP Instance UIDs that it takes back."""


class Unindexable(Exception):
    """Acknowledged bytes that cannot be indexed: kept in quarantine and shown."""


def read_arrival(path: Path, sha256: str) -> Arrival:
    """Read what the index needs from a Part 10 file: its header, and its pixels' digest.

    Raises:
        Unindexable: no DICOM, or a UID is missing or too long. The text names keywords only.
        OSError: the disk does not give it now.
    """
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # pydicom's warnings quote the values they doubt
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[*WANTED, *NOTE])
            meta = header.file_meta
            values = {keyword: fitted(keyword, text(header, keyword)) for keyword in WANTED}
            rejects = _rejects(header) if values["SOPClassUID"] == KEY_OBJECTS else ("", ())
            syntax = text(meta, "TransferSyntaxUID")
            pixels = "" if syntax == DeflatedExplicitVRLittleEndian else _pixels(file)
            source = text(meta, "SendingApplicationEntityTitle")[:16]
            address, passage = text(meta, "SendingPresentationAddress"), _passage(meta)
    except READ_ERRORS as why:
        if isinstance(why, OSError) and why.errno:
            raise
        msg = f"unreadable: {type(why).__name__}"
        raise Unindexable(msg) from None
    _check({**values, "TransferSyntaxUID": syntax})
    return Arrival(
        sha256=sha256,
        size_bytes=path.stat().st_size,
        transfer_syntax_uid=syntax,
        source_ae_title=source,
        source_address=address,
        values=values,
        pixel_sha256=pixels,
        passage=passage,
        rejects=rejects,
    )


def association_of(path: Path) -> str:
    """Give the id of the association that brought a file, however bad; empty where none is told.

    Raises:
        OSError: the disk does not give it now.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _passage(pydicom.filereader.read_file_meta_info(path)).association_id
    except READ_ERRORS as why:
        if isinstance(why, OSError) and why.errno:
            raise
        return ""


def text(dataset: Dataset, keyword: str) -> str:
    """Give one element as text; multi-values joined as DICOM does, control characters dropped."""
    value = dataset.get(keyword)
    if value is None:
        return ""
    joined = "\\".join(str(one) for one in value) if isinstance(value, MultiValue) else str(value)
    return _printable(joined)


def fitted(keyword: str, value: str) -> str:
    """Give a text no longer than its VR allows; the file keeps the whole of it.

    What tells who it is ends in a digest of the whole where it is cut, so that two patients whose
    overlong IDs begin alike stay two. A UID is never cut: it is refused (``read_arrival``).
    """
    vr = dictionary_VR(keyword)
    most = DESCRIPTIONS.get(keyword, LENGTHS[vr])
    if len(value) <= most or vr == "UI":
        return value
    if keyword not in TELLING:
        return value[:most].strip()
    mark = f"~{hashlib.sha256(value.encode()).hexdigest()[: most // 2]}"
    return value[: most - len(mark)] + mark


def _check(values: dict[str, str]) -> None:
    missing = [one for one in REQUIRED if not values[one]]
    long = [one for one in (*REQUIRED, "TransferSyntaxUID") if len(values[one]) > LENGTHS["UI"]]
    for what, keywords in (("missing", missing), ("too long", long)):
        if keywords:
            msg = f"{what}: {', '.join(keywords)}"
            raise Unindexable(msg)


def _printable(value: str) -> str:
    """Drop control characters, NUL, which PostgreSQL refuses, and halves of surrogate pairs."""
    return "".join(character for character in value if character.isprintable()).strip()


def _rejects(header: Dataset) -> tuple[str, tuple[str, ...]]:
    """Read a key object selection: what it rejects, if that is what it is for."""
    titles = [str(one.get("CodeValue", "")) for one in header.get(NOTE[0]) or ()]
    if not titles or titles[0] not in REJECTIONS:
        return "", ()
    return titles[0], tuple(
        _printable(str(item.ReferencedSOPInstanceUID))
        for study in header.get(NOTE[1]) or ()
        for series in study.get("ReferencedSeriesSequence") or ()
        for item in series.get("ReferencedSOPSequence") or ()
    )


def _passage(meta: Dataset) -> Passage:
    """Read what the listener wrote into Private Information (PS3.10 7.1), and nobody else did."""
    called = text(meta, "ReceivingApplicationEntityTitle")[:16]
    facts: dict[str, Any] = {}
    with suppress(*READ_ERRORS):
        if text(meta, "PrivateInformationCreatorUID") == IMPLEMENTATION_CLASS_UID:
            facts = dict(json.loads(bytes(meta.PrivateInformation)))
    return Passage(
        association_id=_printable(str(facts.get("association", "")))[:32],
        opened_at=_moment(facts.get("opened")),
        spooled_at=_moment(facts.get("spooled")),
        called_ae_title=called,
    )


def _moment(told: object) -> datetime | None:
    with suppress(ValueError):
        found = datetime.fromisoformat(str(told))
        return found.astimezone(UTC) if found.tzinfo else None
    return None


def _pixels(file: BinaryIO) -> str:
    """Give the SHA-256 of Pixel Data's value, where ``file`` stands at its tag.

    The element's own header and what follows it are left out, so that a copy under new UIDs or in
    the other VR encoding has the same. Pixels that are all alike tell nothing and give none.
    """
    head = file.read(12)
    order = PIXEL_DATA.get(head[:4])
    if order is None or len(head) < 12:
        return ""
    explicit = head[4:6] in (b"OB", b"OW", b"UN")
    (length,) = struct.unpack(f"{order}I", head[8:12] if explicit else head[4:8])
    found, is_flat, first = hashlib.sha256(), True, b""
    if not explicit:
        file.seek(-4, 1)
    left = None if length == UNDEFINED else length
    while chunk := file.read(CHUNK if left is None else min(CHUNK, left)):
        found.update(chunk)
        first = first or chunk[:2]
        is_flat = is_flat and chunk[:2] == first and chunk[2:] == chunk[:-2]
        left = None if left is None else left - len(chunk)
    return "" if is_flat else found.hexdigest()
