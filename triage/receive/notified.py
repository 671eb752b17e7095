"""The data sets of N-services, read and judged: what they must hold, and how steps go on.

They are walked for lengths, depth and counts first, as instances are, and only then read. Of a
performed step only what tells of its instances is kept: no patient, no text.
"""

import re
import threading
import warnings
from collections.abc import Callable, Iterable
from copy import deepcopy
from io import BytesIO
from typing import Final, TypeVar

from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from triage.errors import Refused
from triage.receive.scan import IMPLICIT_LITTLE, NATIVE, is_uid
from triage.receive.walk import Walk
from triage.spool import Bytes

Fact = TypeVar("Fact")
INVALID_VALUE: Final = 0x0106
PROCESSING_FAILURE: Final = 0x0110
INVALID_ARGUMENT: Final = 0x0115
MISSING: Final = 0x0120
MISSING_VALUE: Final = 0x0121
RESOURCE_LIMITATION: Final = 0x0213
MAX_ELEMENTS: Final = 300_000
"""Nested ones and items included: three for each instance that is named."""
IN_PROGRESS: Final = "IN PROGRESS"
COMPLETED: Final = "COMPLETED"
FINAL: Final = frozenset((COMPLETED, "DISCONTINUED"))
STATUS: Final = "PerformedProcedureStepStatus"
END: Final = ("PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime")
BEGIN: Final = (
    "ScheduledStepAttributesSequence", "PerformedProcedureStepID", "PerformedStationAETitle",
    "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", STATUS, "Modality",
)  # fmt: skip
"""Type 1 in an N-CREATE (PS3.4 Table F.7.2-1)."""
SERIES: Final = "PerformedSeriesSequence"
REASON: Final = "PerformedProcedureStepDiscontinuationReasonCodeSequence"
REFERENCES: Final = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
DATE: Final = re.compile(r"\d{8}")
TIME: Final = re.compile(r"\d{2,6}(\.\d{1,6})?")
WORD: Final = re.compile(r"[A-Za-z0-9 _.-]{1,16}")
UNREADABLE: Final = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError,
    OSError, EOFError, OverflowError, RecursionError,
)  # fmt: skip
_reading: Final = threading.Lock()
"""Held while pydicom's warnings are off, which is for the whole process: they quote values."""


def judged(content: Bytes, transfer_syntax_uid: str, judge: Callable[[Dataset], Fact]) -> Fact:
    """Give what ``judge`` finds in a message's data set.

    Raises:
        Refused: it is damaged or beyond a limit, or the judge refuses it.
    """
    walk = Walk(content, NATIVE[transfer_syntax_uid], frozenset())
    try:
        walk.run()
    except Refused as why:
        raise Refused(PROCESSING_FAILURE, str(why)) from None
    if walk.elements > MAX_ELEMENTS:
        raise Refused(RESOURCE_LIMITATION, "names too many instances")
    with _reading, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            implicit = transfer_syntax_uid == IMPLICIT_LITTLE
            return judge(decode(BytesIO(bytes(content)), implicit, is_little_endian=True))
        except UNREADABLE:
            raise Refused(PROCESSING_FAILURE, "the data set is damaged") from None


def transaction(asked: Dataset) -> str:
    """Give the Transaction UID of a request for Storage Commitment (PS3.4 Table J.3-1).

    Raises:
        Refused: it has none, or names no instance, or one badly.
    """
    uid = _text(asked, "TransactionUID")
    if not is_uid(uid.encode()):
        raise Refused(INVALID_ARGUMENT, "Transaction UID is missing or not valid")
    if not _references(asked, "ReferencedSOPSequence", INVALID_ARGUMENT):
        raise Refused(INVALID_ARGUMENT, "Referenced SOP Sequence is empty")
    return uid


def check_availability(told: Dataset) -> None:
    """Judge an Instance Availability Notification (PS3.4 Table R.3.2-1).

    Raises:
        Refused: it does not say of which study and instances it speaks.
    """
    _require(told, ("StudyInstanceUID", "ReferencedSeriesSequence"))
    _uid(told, "StudyInstanceUID")
    for series in told.ReferencedSeriesSequence:
        _require(series, ("SeriesInstanceUID", "ReferencedSOPSequence"))
        _uid(series, "SeriesInstanceUID")
        _references(series, "ReferencedSOPSequence")


def begun(given: Dataset) -> Dataset:
    """Give the step that an N-CREATE begins, with what we keep of it.

    Raises:
        Refused: something is missing, or it does not begin in progress.
    """
    _require(given, BEGIN)
    if _text(given, STATUS) != IN_PROGRESS:
        raise Refused(INVALID_VALUE, "a step begins IN PROGRESS")
    step = changes(given)
    for keyword in ("PerformedStationAETitle", "Modality"):
        word = _text(given, keyword)
        setattr(step, keyword, word if WORD.fullmatch(word) else "")
    scheduled = []
    for item in given.ScheduledStepAttributesSequence:
        _require(item, ("StudyInstanceUID",))
        scheduled.append(_made(StudyInstanceUID=_uid(item, "StudyInstanceUID")))
    step.ScheduledStepAttributesSequence = scheduled
    return step


def changes(given: Dataset) -> Dataset:
    """Give what a message may change of a step; the rest of it is passed over.

    Raises:
        Refused: a value is not one.
    """
    found = Dataset()
    for keyword, pattern in ((STATUS, WORD), (END[0], DATE), (END[1], TIME)):
        value = _text(given, keyword)
        if value and not pattern.fullmatch(value):
            raise Refused(INVALID_VALUE, f"{keyword} is not valid")
        if value:
            setattr(found, keyword, value)
    if found.get(STATUS, IN_PROGRESS) not in {IN_PROGRESS, *FINAL}:
        raise Refused(INVALID_VALUE, f"{STATUS} is not valid")
    if SERIES in given:
        setattr(found, SERIES, [_series(item) for item in given[SERIES].value or ()])
    if REASON in given:
        setattr(found, REASON, [_code(item) for item in given[REASON].value or ()])
    return found


def updated(step: Dataset, changed: Dataset) -> Dataset:
    """Give a step after an N-SET: what it names is replaced whole (PS3.7 10.1.3).

    Raises:
        Refused: the step would be final, and lacks what it then must have.
    """
    after = deepcopy(step)
    after.update(changed)
    if is_final(after):
        _require(after, END)
    if after[STATUS].value == COMPLETED:
        _require(after, (SERIES,))
    return after


def is_final(step: Dataset) -> bool:
    """Tell whether a step may no longer be updated."""
    return step[STATUS].value in FINAL


def encoded(step: Dataset) -> bytes:
    """Give a step's bytes, in explicit VR little endian."""
    content = encode(step, is_implicit_vr=False, is_little_endian=True)
    if content is None:  # what is in it was judged
        raise Refused(PROCESSING_FAILURE, "the step cannot be written")
    return content


def remembered(revision: int, content: bytes) -> bytes:
    """Give a ledger's line on a step."""
    return b"%d\n" % revision + content


def recalled(line: bytes) -> tuple[int, Dataset]:
    """Read a ledger's line on a step: its revision and itself."""
    revision, _, content = line.partition(b"\n")
    return int(revision), decode(BytesIO(content), is_implicit_vr=False, is_little_endian=True)


def _series(item: Dataset) -> Dataset:
    _require(item, ("SeriesInstanceUID",))
    made = _made(SeriesInstanceUID=_uid(item, "SeriesInstanceUID"))
    for keyword in REFERENCES:
        setattr(made, keyword, _references(item, keyword))
    return made


def _references(item: Dataset, keyword: str, status: int = INVALID_VALUE) -> list[Dataset]:
    """Give the (SOP class, SOP instance) pairs of a sequence, that may be absent or empty."""
    given = item[keyword].value or () if keyword in item else ()
    return [
        _made(
            ReferencedSOPClassUID=_uid(one, "ReferencedSOPClassUID", status),
            ReferencedSOPInstanceUID=_uid(one, "ReferencedSOPInstanceUID", status),
        )
        for one in given
    ]


def _code(item: Dataset) -> Dataset:
    value, scheme = _text(item, "CodeValue"), _text(item, "CodingSchemeDesignator")
    if not (WORD.fullmatch(value) and WORD.fullmatch(scheme)):
        raise Refused(INVALID_VALUE, f"{REASON} is not valid")
    return _made(CodeValue=value, CodingSchemeDesignator=scheme)


def _made(**values: str) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def _require(given: Dataset, keywords: Iterable[str]) -> None:
    for keyword in keywords:
        if keyword not in given:
            raise Refused(MISSING, f"{keyword} is missing")
        if given[keyword].is_empty:
            raise Refused(MISSING_VALUE, f"{keyword} is empty")


def _uid(given: Dataset, keyword: str, status: int = INVALID_VALUE) -> str:
    uid = _text(given, keyword)
    if not is_uid(uid.encode("ascii", "replace")):
        raise Refused(status, f"{keyword} is not a valid UID")
    return uid


def _text(given: Dataset, keyword: str) -> str:
    value = given.get(keyword)
    return "" if value is None else str(value).strip("\0 ")
