"""Content items to bytes: Explicit VR Little Endian, lengths defined (PS3.5 7.1.2, 7.5).

A report is one deep tree of small data sets. Written by a general writer each of them costs a
good part of a millisecond; here they cost a tenth of it, and a branch that is the same for every
study can be kept as bytes. What is written so is read back by highdicom before it leaves.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

_SHORT: Final = struct.Struct("<HH2sH")
_LONG: Final = struct.Struct("<HH2s2xI")
_ITEM: Final = struct.Struct("<HHI")
_LONG_VRS: Final = frozenset({"SQ", "UT", "UC", "UR", "UN", "OB", "OW"})
_BINARY: Final = {"FD": "<d", "FL": "<f", "US": "<H", "UL": "<I", "SS": "<h", "SL": "<i"}
_TEXT: Final = frozenset(
    {
        "AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI",
        "UR", "UT",
    }
)  # fmt: skip


def items(datasets: Iterable[Dataset]) -> bytes:
    """Give the value of a sequence that holds these items."""
    return b"".join(item(dataset) for dataset in datasets)


def item(dataset: Dataset, *more: bytes) -> bytes:
    """Give one item of a sequence, with ``more`` elements, encoded already, after its own."""
    content = b"".join([*map(_element, dataset.elements()), *more])
    return _ITEM.pack(0xFFFE, 0xE000, len(content)) + content


def raw_item(*elements: bytes) -> bytes:
    """Give one item of a sequence, of elements that are encoded already, in ascending order."""
    content = b"".join(elements)
    return _ITEM.pack(0xFFFE, 0xE000, len(content)) + content


def element(tag: int, vr: str, value: bytes) -> bytes:
    """Give one element; the value is padded to an even length as its VR wants it."""
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    head = _LONG if vr in _LONG_VRS else _SHORT
    return head.pack(tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def _element(one: Any) -> bytes:  # noqa: ANN401 - a DataElement, or a raw one that is refused
    if not isinstance(one, DataElement):
        msg = "only elements in memory are encoded here"
        raise TypeError(msg)
    if one.VR == "SQ":
        return element(one.tag, "SQ", items(one.value))
    return element(one.tag, one.VR, _value(one.VR, one.value))


def _value(vr: str, value: Any) -> bytes:  # noqa: ANN401 - whatever the VR holds
    if value is None:
        return b""
    values: Sequence[Any] = value if isinstance(value, list | tuple) or _many(value) else (value,)
    if vr in _BINARY:
        return b"".join(struct.pack(_BINARY[vr], one) for one in values)
    if vr not in _TEXT:
        msg = f"a content item holds no {vr}"
        raise TypeError(msg)
    return "\\".join(map(str, values)).encode()


def _many(value: Any) -> bool:  # noqa: ANN401
    return hasattr(value, "append") and not isinstance(value, str)
