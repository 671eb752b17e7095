"""What a work item holds: DICOM JSON and back, what must be there, and what a query matches."""

import json
import re
import struct
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from io import BytesIO
from typing import Any, Final

from pydicom import config
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from triage.ups.words import NotDone, State, Status

REQUIRED: Final = (
    "ScheduledProcedureStepPriority", "ProcedureStepLabel", "InputReadinessState",
    "ScheduledProcedureStepStartDateTime",
)  # fmt: skip
"""Type 1 at creation (Table CC.2.5-3), beside the state."""
EMPTY: Final = (
    "WorklistLabel", "ScheduledProcessingParametersSequence", "ScheduledStationNameCodeSequence",
    "ScheduledWorkitemCodeSequence", "InputInformationSequence", "StudyInstanceUID",
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "AdmissionID", "IssuerOfAdmissionIDSequence", "AdmittingDiagnosesDescription",
    "ReferencedRequestSequence", "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)  # fmt: skip
"""Type 2: there, perhaps empty."""
ALLOWED: Final = {
    "ScheduledProcedureStepPriority": ("HIGH", "MEDIUM", "LOW"),
    "InputReadinessState": ("READY", "INCOMPLETE", "UNAVAILABLE"),
}
OURS: Final = (
    "TransactionUID", "SOPClassUID", "SOPInstanceUID", "ProcedureStepState",
    "ScheduledProcedureStepModificationDateTime", "AffectedSOPInstanceUID",
)  # fmt: skip
"""Never taken from a requester."""
PERFORMED: Final = (
    "PerformedStationNameCodeSequence", "PerformedWorkitemCodeSequence",
    "PerformedProcedureStepStartDateTime", "PerformedProcedureStepEndDateTime",
)  # fmt: skip
"""What a completed item says of what was done."""
STOPPED: Final = (
    "ProcedureStepCancellationDateTime", "ProcedureStepDiscontinuationReasonCodeSequence",
)  # fmt: skip
"""What a canceled item says of why."""
_UNREADABLE: Final = (
    ValueError, TypeError, KeyError, AttributeError, LookupError, OverflowError,
    NotImplementedError, RecursionError, OSError, struct.error,
)  # fmt: skip
MAX_DEPTH: Final = 12
DATES: Final = frozenset({"DA", "TM", "DT"})
NO_KEYS: Final = frozenset(
    {"SpecificCharacterSet", "TimezoneOffsetFromUTC", "QueryRetrieveLevel", "TransactionUID"}
)
"""Elements of an identifier that match everything."""
BESIDE: Final = frozenset({"ProcedureStepState"})
"""Kept beside the text."""
WHOLE: Final = frozenset(["AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UC", "UI", "UR"])
"""Whose single values are kept as they are compared."""
HOURS: Final = 10
"""Characters of a DT that has come to the hour."""
OFFSET: Final = 4


def to_json(dataset: Dataset) -> dict[str, Any]:
    """Give a data set as DICOM JSON (PS3.18 F)."""
    found: dict[str, Any] = dataset.to_json_dict()
    return found


def from_json(given: object) -> Dataset:
    """Read DICOM JSON from anybody.

    Raises:
        NotDone: it is no data set of standard elements, or nested deeper than any of ours.
    """
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if not isinstance(given, dict) or _depth(given) > MAX_DEPTH * 3:
        raise NotDone(Status.BAD_ARGUMENT, "The body is no work item in DICOM JSON.")
    try:
        found = Dataset.from_json(given)
        foreign = any(not _is_of_its_kind(element) for element in found.iterall())
        found.SpecificCharacterSet = "ISO_IR 192"  # JSON's own
        # What cannot be written now could not be given to anybody later.
        found.save_as(BytesIO(), implicit_vr=False, little_endian=True)
    except _UNREADABLE:
        raise NotDone(Status.BAD_ARGUMENT, "The body is no work item in DICOM JSON.") from None
    if foreign:
        raise NotDone(Status.BAD_ARGUMENT, "An element has another VR than the standard's.")
    return found


def parse(text: bytes | str) -> Dataset:
    """Read the text of DICOM JSON. Raises as ``from_json``."""
    try:
        return from_json(json.loads(text))
    except (ValueError, RecursionError):
        raise NotDone(Status.BAD_ARGUMENT, "The body is no JSON.") from None


def from_wire(given: Dataset | None) -> Dataset:
    """Take a data set that came by DIMSE, every element decoded. Raises as ``from_json``."""
    try:
        return from_json(to_json(given if given is not None else Dataset()))
    except _UNREADABLE:
        raise NotDone(Status.BAD_ARGUMENT, "The data set is not readable.") from None


def kept(text: str) -> Dataset:
    """Give back what ``dump`` wrote: it was checked when it came."""
    return Dataset.from_json(json.loads(text))


def dump(dataset: Dataset) -> str:
    """Give the text that is kept."""
    return json.dumps(to_json(dataset), separators=(",", ":"))


def check_new(given: Dataset) -> None:
    """Refuse a creation that lacks what must be there.

    Raises:
        NotDone: NOT_SCHEDULED, MISSING or BAD_VALUE.
    """
    if given.get("ProcedureStepState") != State.SCHEDULED:
        raise NotDone(Status.NOT_SCHEDULED)
    if given.get("TransactionUID"):
        raise NotDone(Status.BAD_VALUE, "TransactionUID is empty when an item is created.")
    missing = [keyword for keyword in REQUIRED if not given.get(keyword)]
    if missing:
        raise NotDone(Status.MISSING, f"{', '.join(missing)} missing.")
    check_values(given)


def check_values(given: Dataset) -> None:
    """Refuse a word that is none of an attribute's.

    Raises:
        NotDone: BAD_VALUE.
    """
    for keyword, words in ALLOWED.items():
        if keyword in given and given.get(keyword) not in words:
            raise NotDone(Status.BAD_VALUE, f"{keyword} is none of {', '.join(words)}.")


def check_final(item: Dataset, state: State) -> None:
    """Refuse a final state whose requirements are not met (PS3.4 CC.2.5.1.1).

    Raises:
        NotDone: NOT_MET.
    """
    keywords: tuple[str, ...] = STOPPED
    name = "ProcedureStepProgressInformationSequence"
    if state is State.COMPLETED:
        name, keywords = "UnifiedProcedureStepPerformedProcedureSequence", PERFORMED
    told = (item.get(name) or [Dataset()])[0]
    missing = [keyword for keyword in keywords if not told.get(keyword)]
    if state is State.COMPLETED and "OutputInformationSequence" not in told:
        missing.append("OutputInformationSequence")
    if missing:
        raise NotDone(Status.NOT_MET, f"{name} lacks {', '.join(missing)}.")


def keys_from_query(pairs: Iterable[tuple[str, str]]) -> Dataset:
    """Give the matching keys of a search's query string: keywords or tags, nested by dots.

    Raises:
        NotDone: BAD_ARGUMENT, there is no such attribute.
    """
    keys = Dataset()
    for path, value in pairs:
        into = keys
        *outer, last = path.split(".")
        if len(outer) > MAX_DEPTH:
            raise NotDone(Status.BAD_ARGUMENT, "The query nests too deep.")
        for name in outer:
            into = _inside(into, _tag(name))
        try:
            vr = dictionary_VR(_tag(last))
            text = value.replace(",", "\\") if vr == "UI" else value
            into.add(DataElement(_tag(last), vr, text, validation_mode=config.IGNORE))
        except _UNREADABLE:
            raise NotDone(Status.BAD_ARGUMENT, "A key's value is not of its kind.") from None
    return keys


def matches(item: Dataset, keys: Dataset) -> bool:
    """Tell whether an item fits every key (PS3.4 C.2.2.2)."""
    return all(_fits(item.get(key.tag), key) for key in keys if key.keyword not in NO_KEYS)


def project(item: Dataset, keys: Dataset | None) -> Dataset:
    """Give the attributes that a query asks for; all of them without keys."""
    if not keys:
        return item
    found = Dataset()
    for key in keys:
        if key.tag in item:
            found.add(item[key.tag])
        elif key.keyword != "TransactionUID":
            found.add_new(key.tag, key.VR, None)
    for keyword in ("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID"):
        if keyword in item:
            found.add(item[keyword])
    return found


def whole_texts(keys: Dataset) -> list[str]:
    """Give what stands in the kept text of every item that matches, as far as it can be told.

    A key without wildcards is matched whole, nested or not. Names are not among them, because they
    match in either case, nor are numbers and ranges.
    """
    found = []
    for key in keys.iterall():
        value = key.value if isinstance(key.value, str) else ""
        is_whole = key.VR in WHOLE and not any(one in value for one in "*?\\")
        is_range = key.VR in DATES and _is_range(value)
        if value.strip() and is_whole and not is_range and key.keyword not in (NO_KEYS | BESIDE):
            found.append(json.dumps(value.strip())[1:-1])
    return found


def _is_of_its_kind(element: DataElement) -> bool:
    """Tell whether an element has the VR that the dictionary (PS3.6) gives it."""
    return not element.keyword or element.VR in dictionary_VR(element.tag).split(" or ")


def _fits(element: DataElement | None, key: DataElement) -> bool:
    if key.VR == "SQ":
        return _fits_sequence(element, key)
    wanted = _texts(key.value)
    if not any(wanted):
        return True  # universal
    held = _texts(element.value) if element is not None else []
    return any(_same(value, one, key.VR) for one in wanted for value in held)


def _fits_sequence(element: DataElement | None, key: DataElement) -> bool:
    if not key.value or not len(key.value[0]):
        return True
    if not any(any(_texts(one.value)) for one in key.value[0].iterall() if one.VR != "SQ"):
        return True
    items = element.value if element is not None and element.value else []
    return any(matches(item, key.value[0]) for item in items)


def _same(value: str, key: str, vr: str) -> bool:
    if vr in DATES and _is_range(key):
        return _in_range(value, key)
    if vr == "PN":
        return fnmatchcase(value.casefold(), _pattern(key.casefold()))
    if vr not in DATES and vr != "UI" and ("*" in key or "?" in key):
        return fnmatchcase(value, _pattern(key))
    return value == key


def _is_range(key: str) -> bool:
    """Tell a range from a time with its offset from UTC, which also has a hyphen."""
    first, hyphen, last = key.partition("-")
    return bool(hyphen) and not (len(first) >= HOURS and len(last) == OFFSET)


def _in_range(value: str, key: str) -> bool:
    """Compare as text: the formats sort; a shorter end covers all that begins with it."""
    first, _, last = key.partition("-")
    if first and value < first:
        return False
    return not last or value <= last or value.startswith(last)


def _pattern(key: str) -> str:
    """Brackets are no wildcards in DICOM."""
    return re.sub(r"([\[\]])", r"[\1]", key)


def _texts(value: object) -> list[str]:
    if value is None:
        return []
    many = value if isinstance(value, MultiValue | list) else [value]
    return [str(one).strip() for one in many]


def _inside(dataset: Dataset, tag: int) -> Dataset:
    if tag not in dataset:
        dataset.add_new(tag, "SQ", [Dataset()])
    element = dataset[tag]
    if element.VR != "SQ":
        raise NotDone(Status.BAD_ARGUMENT, "A key nests in what is no sequence.")
    found: Dataset = element.value[0]
    return found


def _tag(name: str) -> int:
    tag = int(name, 16) if re.fullmatch(r"[0-9A-Fa-f]{8}", name) else tag_for_keyword(name)
    if tag is None or not dictionary_has_tag(tag):
        raise NotDone(Status.BAD_ARGUMENT, "There is no such attribute.")
    return tag


def _depth(given: object) -> int:
    """Give how deep JSON nests, without recursion."""
    deepest, waiting = 0, [(given, 1)]
    while waiting:
        one, level = waiting.pop()
        deepest = max(deepest, level)
        if isinstance(one, Mapping):
            waiting.extend((inner, level + 1) for inner in one.values())
        elif isinstance(one, list):
            waiting.extend((inner, level + 1) for inner in one)
    return deepest
