"""Judge received bytes before they are acknowledged: whole, bounded, and with usable UIDs."""

import re
import threading
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from triage.errors import Refused
from triage.receive.pixels import PIXEL_TAGS, check_pixels
from triage.receive.walk import CANNOT_UNDERSTAND, Encoding, Walk
from triage.spool import Bytes

INVALID_UID: Final = 0x0117
"""Invalid SOP Instance: its UID breaks the rules for UIDs (PS3.7 C.5.8)."""
MAX_INFLATED_BYTES: Final = 512 * 2**20
MAX_INFLATION: Final = 200
FREE_INFLATED_BYTES: Final = 8 * 2**20
"""Below this no ratio is suspicious: an empty image deflates a thousandfold."""

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
NATIVE: Final = {
    IMPLICIT_LITTLE: Encoding(explicit=False),
    EXPLICIT_LITTLE: Encoding(explicit=True),
    DEFLATED_LITTLE: Encoding(explicit=True),
    EXPLICIT_BIG: Encoding(explicit=True, big_endian=True),
}
"""Every other transfer syntax is encapsulated, and explicit little endian (PS3.5 A.4)."""

UIDS: Final = {
    "SOP Class UID": 0x00080016,
    "SOP Instance UID": 0x00080018,
    "Study Instance UID": 0x0020000D,
    "Series Instance UID": 0x0020000E,
}
PATIENT_ID: Final = 0x00100020
WANTED: Final = frozenset({*UIDS.values(), PATIENT_ID, *PIXEL_TAGS})
UID: Final = re.compile(rb"[0-9]+(?:\.[0-9]+)*")
"""Components with leading zeros break PS3.5 9.1; scanners write them, and nothing is misled."""
MAX_UID_CHARACTERS: Final = 64
MAX_DEFLATED_TAIL_BYTES: Final = 16
"""A checksum, a size and a padding byte, which some writers leave after the deflated stream."""
_one_inflated_at_a_time: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Scanned:
    """What the listener has to know of an instance to answer for it."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    has_patient_id: bool
    has_pixel_data: bool
    elements: int
    """Nested ones and items included."""


def scan(data: Bytes, transfer_syntax_uid: str) -> Scanned:
    """Judge a data set as it came from the wire.

    Raises:
        Refused: 0xC000 for a data set that is cut, malformed, beyond a limit, without a UID, or
            whose native pixel data has the wrong length; 0x0117 for a UID that is none.
    """
    encoding = NATIVE.get(transfer_syntax_uid, NATIVE[EXPLICIT_LITTLE])
    is_native = transfer_syntax_uid in NATIVE
    if transfer_syntax_uid == DEFLATED_LITTLE:
        with _one_inflated_at_a_time:
            return _scan(inflate(data), encoding, is_native=is_native)
    return _scan(data, encoding, is_native=is_native)


@lru_cache(maxsize=1024)
def check_uid(value: bytes, name: str) -> str:
    """Give a UID's text, without its padding.

    Remembered: an instance's own UID is looked at three times, its series' with every slice.

    Raises:
        Refused: 0x0117, it is not a UID.
    """
    text = value.rstrip(b"\0 ")
    if not is_uid(text):
        raise Refused(INVALID_UID, f"{name} is not a valid UID")
    return text.decode("ascii")


def is_uid(text: bytes) -> bool:
    """Tell whether this is short and made of numbers and dots, as UIDs are (PS3.5 9.1)."""
    return len(text) <= MAX_UID_CHARACTERS and _is_uid(text)


@lru_cache(maxsize=1024)
def _is_uid(text: bytes) -> bool:
    """Remembered: each answer repeats two."""
    return UID.fullmatch(text) is not None


def inflate(data: Bytes) -> bytes:
    """Undo the deflated transfer syntax (PS3.5 A.5), up to a size and a ratio.

    Raises:
        Refused: 0xC000, it is damaged, cut, or a bomb.
    """
    limit = min(MAX_INFLATED_BYTES, max(FREE_INFLATED_BYTES, MAX_INFLATION * len(data)))
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = engine.decompress(data, limit + 1)
    except zlib.error:
        raise Refused(CANNOT_UNDERSTAND, "deflated data are damaged") from None
    if len(inflated) > limit:
        raise Refused(CANNOT_UNDERSTAND, "deflated data grow beyond the limit")
    if not engine.eof or len(engine.unused_data) > MAX_DEFLATED_TAIL_BYTES:
        raise Refused(CANNOT_UNDERSTAND, "deflated data are cut")
    return inflated


def _scan(data: Bytes, encoding: Encoding, *, is_native: bool) -> Scanned:
    walk = Walk(data, encoding, WANTED)
    walk.run()
    sop_class, sop_instance, study, series = (_uid(walk, *known) for known in UIDS.items())
    has_pixel_data = check_pixels(walk, encoding, is_native=is_native)
    return Scanned(
        sop_class_uid=sop_class,
        sop_instance_uid=sop_instance,
        study_instance_uid=study,
        series_instance_uid=series,
        has_patient_id=bool((walk.value(PATIENT_ID) or b"").strip(b"\0 ")),
        has_pixel_data=has_pixel_data,
        elements=walk.elements,
    )


def _uid(walk: Walk, name: str, tag: int) -> str:
    value = walk.value(tag)
    if value is None or not value.strip(b"\0 "):
        raise Refused(CANNOT_UNDERSTAND, f"{name} is missing")
    return check_uid(value, name)
