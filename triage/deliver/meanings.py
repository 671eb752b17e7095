"""What a destination's status means in words, and what a person can do about it.

Sources: PS3.4 Table B.2-1 (C-STORE), PS3.7 Annex C (general), PS3.4 Table J.3-2 (commitment),
PS3.18 Table 10.5.3-1 and RFC 9110 (HTTP).
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

EXACT: Final[Mapping[int, str]] = {
    0x0000: "Stored",
    0x0105: "No such attribute",
    0x0106: "Invalid attribute value",
    0x0107: "Stored, but some attributes were not taken",
    0x0110: "Processing failure at the destination",
    0x0111: "Duplicate: an object with this UID is there already",
    0x0112: "No such object instance: the destination does not have it",
    0x0113: "No such event type",
    0x0115: "Invalid argument value",
    0x0116: "Attribute value out of range",
    0x0117: "Invalid object instance: its UID violates the rules",
    0x0118: "No such SOP class",
    0x0119: "Class and instance conflict",
    0x0120: "Missing attribute",
    0x0121: "Missing attribute value",
    0x0122: "SOP class not supported: the destination does not take this kind of object",
    0x0123: "No such action type",
    0x0124: "Not authorised: the destination does not let our AE title store",
    0x0131: "Duplicate transaction UID",
    0x0210: "Duplicate invocation",
    0x0211: "Unrecognised operation",
    0x0212: "Mistyped argument",
    0x0213: "Resource limitation at the destination",
    0xB000: "Stored, with data elements coerced",
    0xB006: "Stored, with elements discarded",
    0xB007: "Stored, although the data set does not match its SOP class",
    0xC122: "Transfer syntax not supported",
}
RANGES: Final[tuple[tuple[int, int, str], ...]] = (
    (0xA700, 0xA7FF, "Out of resources: the destination is full or busy"),
    (0xA900, 0xA9FF, "The data set does not match its SOP class, says the destination"),
    (0xB000, 0xBFFF, "Stored, with a warning"),
    (0xC000, 0xCFFF, "Cannot understand: the destination could not make sense of the object"),
)
FIXES: Final[Mapping[int, str]] = {
    0x0122: "Let the PACS accept this SOP class, or ask for another output.",
    0x0124: "Let the PACS accept our calling AE title.",
    0x0117: "Look whether the study's own UIDs are legal; the report repeats them.",
    401: "Renew the credential of this destination.",
    403: "Let the server accept our credential for storing.",
    413: "Let the server accept larger requests.",
    415: "Let the server accept application/dicom in multipart/related.",
}
UNKNOWN: Final = "A status that no standard names"
LOOK: Final = "Look at the destination's own log, put right what it refused, and resend."


def meaning(status: int) -> str:
    """Give what a DIMSE or HTTP status means."""
    if status in EXACT:
        return EXACT[status]
    for first, last, words in RANGES:
        if first <= status <= last:
            return words
    try:
        return f"HTTP {HTTPStatus(status).phrase}"
    except ValueError:
        return UNKNOWN


def fix(status: int | None) -> str:
    """Give what a person can do about a refusal."""
    return LOOK if status is None else FIXES.get(status, LOOK)


def label(status: int) -> str:
    """Give a status as logs print it: HTTP's in decimal, DIMSE's in hexadecimal."""
    if status in EXACT or status >= 0x1000:
        return f"0x{status:04X}"
    return str(status)
