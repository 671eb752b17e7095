"""Headers out of stored files, as DICOM JSON (PS3.18 F): large values as addresses, no pixels.

What is stored was walked when it came, so its depth, its counts and its lengths are bounded.
"""

import struct
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

import pydicom
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError

from triage.errors import Broken

INLINE_BYTES: Final = 1_024
"""Longer binary values are given by their address."""
DEFERRED_BYTES: Final = 65_536
"""Longer values stay in the file until somebody asks for them."""
BINARY: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
UTF_8: Final = "ISO_IR 192"
PIXEL_DATA: Final = 0x7FE00010
UNREADABLE: Final = (
    InvalidDicomError, OSError, EOFError, ValueError, TypeError, KeyError, AttributeError,
    NotImplementedError, OverflowError, LookupError, struct.error, RecursionError,
)  # fmt: skip
_quiet: Final = Lock()
"""Python's filters of warnings are the process's, and pydicom's warnings quote the values."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what pydicom says of values, while they are converted. Not around ``read``."""
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read(path: Path, tags: Collection[int] | None = None) -> Dataset:
    """Read a file's header, or only some tags of it.

    Raises:
        FileNotFoundError: the file is gone.
        Broken: corrupt, it cannot be read.
    """
    wanted = None if tags is None else list(tags)
    try:
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=wanted, defer_size=DEFERRED_BYTES
            )
    except FileNotFoundError:
        raise
    except UNREADABLE as why:
        detail = f"a stored file cannot be read ({type(why).__name__})"
        raise Broken(code="corrupt", detail=detail) from None


def to_json(dataset: Dataset, bulk: str) -> dict[str, Any]:
    """Give a data set in the DICOM JSON Model; ``bulk`` is where its large values are."""
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _model(dataset, bulk)


def element_json(element: DataElement) -> dict[str, Any]:
    """Give one element of ours in the DICOM JSON Model."""
    found: dict[str, Any] = element.to_json_dict(None, INLINE_BYTES)
    return found


def _model(dataset: Dataset, bulk: str) -> dict[str, Any]:
    found = {}
    for tag in sorted(dataset.keys()):
        number = int(tag)
        if number & 0xFFFF and number >> 16 > 2:
            found[f"{number:08X}"] = _element(dataset, number, f"{bulk}/{number:08X}")
    if "00080005" in found:
        found["00080005"] = {"vr": "CS", "Value": [UTF_8]}
    return found


def _element(dataset: Dataset, tag: int, place: str) -> dict[str, Any]:
    raw = dataset.get_item(tag)
    vr = str(getattr(raw, "VR", None) or _dictionary(tag))
    is_deferred = isinstance(raw, RawDataElement) and raw.value is None and raw.length > 0
    if is_deferred and vr != "SQ":
        return {"vr": vr, "BulkDataURI": place}
    try:
        element = dataset[tag]
        if element.VR == "SQ":
            items = [_model(item, f"{place}/{index}") for index, item in enumerate(element.value)]
            return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
        if element.VR in BINARY and len(element.value or b"") > INLINE_BYTES:
            return {"vr": element.VR, "BulkDataURI": place}
        return element_json(element)
    except UNREADABLE:  # a value that breaks its own rules is left out; its tag is not
        return {"vr": vr if len(vr) == 2 else "UN"}


def _dictionary(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


@dataclass(frozen=True, slots=True)
class PixelPlace:
    """Where a file's pixel data begin."""

    offset: int
    extended_offsets: tuple[list[int], list[int]] | None
    """Of the frames and their lengths, where the file has a table of them."""


def read_pixels(path: Path) -> PixelPlace | None:
    """Find a file's pixel data without reading them; None where there are none.

    Raises:
        Broken: corrupt, it cannot be read.
    """
    wanted = ["PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"]
    try:
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, specific_tags=list(wanted), defer_size=0)
            raw = dataset.get_item(PIXEL_DATA)
            table = _table(dataset)
    except UNREADABLE as why:
        detail = f"a stored file cannot be read ({type(why).__name__})"
        raise Broken(code="corrupt", detail=detail) from None
    tell = getattr(raw, "value_tell", None) or getattr(raw, "file_tell", None)
    return None if tell is None else PixelPlace(int(tell), table)


def _table(dataset: Dataset) -> tuple[list[int], list[int]] | None:
    offsets, lengths = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    if not offsets or not lengths:
        return None
    count = len(offsets) // 8
    return (
        list(struct.unpack(f"<{count}Q", offsets[: 8 * count])),
        list(struct.unpack(f"<{count}Q", lengths[: 8 * count])),
    )
