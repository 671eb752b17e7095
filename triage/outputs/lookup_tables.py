"""Tables that an image is shown through, copied into a presentation state entry by entry.

Modality LUT Sequence (PS3.3 C.11.1) takes the place of a rescaling; VOI LUT Sequence (C.11.2) is
kept for images that have no window. The library that writes the state knows tables of 8 or 16 bits
from zero on; scanners write others, so items are made here.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from highdicom.content import ReferencedImageSequence
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

DESCRIPTOR: Final = 0x00283002
DATA: Final = 0x00283006
MODALITY: Final = "ModalityLUTSequence"
VOI: Final = "VOILUTSequence"
WHOLE: Final = 65_536
"""Entries that a descriptor writes as 0 (PS3.3 C.11.1.1.1)."""
_BYTE: Final = 8


def table(item: Dataset) -> Dataset | None:
    """Give a table's item with its entries as they were; None where it is none.

    Shapes: Descriptor is entries, first value mapped, bits; Data one byte or word an entry.
    """
    try:
        count, first, bits = (int(one) for one in item.LUTDescriptor)
        count = count % WHOLE or WHOLE
        words = _words(item.LUTData, bits, count)
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None
    if words.size < count or not _BYTE <= bits <= 2 * _BYTE:
        return None
    made = Dataset()
    signed = first < 0
    shown = count % WHOLE
    if signed and shown >= WHOLE // 2:
        shown -= WHOLE  # the same sixteen bits
    made.add(DataElement(DESCRIPTOR, "SS" if signed else "US", [shown, first, bits]))
    made.add(DataElement(DATA, "OW", _packed(words[:count], bits)))
    for keyword in ("LUTExplanation", "ModalityLUTType"):
        if item.get(keyword):
            made.add(item[keyword])
    return made


def tables(image: Dataset, keyword: str) -> list[Dataset]:
    """Give the usable items of one of an image's table sequences."""
    return [one for item in image.get(keyword, ()) if (one := table(item)) is not None]


def modality(image: Dataset) -> Dataset | None:
    """Give the table that turns stored values into the modality's, where the image has one."""
    found = next(iter(tables(image, MODALITY)), None)
    if found is not None and "ModalityLUTType" not in found:
        found.ModalityLUTType = "US"  # unspecified; the attribute must be there
    return found


def softcopy(images: Sequence[Dataset], shown: Sequence[list[Dataset]]) -> list[Dataset]:
    """Give items of Softcopy VOI LUT Sequence (PS3.3 C.11.8), one for each distinct set of tables.

    ``shown`` are each image's tables, none where it is shown otherwise.
    """
    groups: list[tuple[list[Dataset], list[Dataset]]] = []
    for image, mine in zip(images, shown, strict=True):
        group = next((members for known, members in groups if known == mine), None)
        if group is not None:
            group.append(image)
        elif mine:
            groups.append((mine, [image]))
    return [_item(known, members, images) for known, members in groups]


def _item(known: list[Dataset], members: list[Dataset], images: Sequence[Dataset]) -> Dataset:
    item = Dataset()
    item.VOILUTSequence = known
    if len(members) < len(images):
        item.ReferencedImageSequence = ReferencedImageSequence(members)
    return item


def _words(data: Any, bits: int, count: int) -> np.ndarray[Any, Any]:  # noqa: ANN401 - bytes or numbers
    """Give the entries; a table of 8 bits has one or two bytes an entry (PS3.3 C.11.1.1.1)."""
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, dtype=np.int64)).astype(np.uint16)
    packed = bits == _BYTE and len(data) < 2 * count
    return np.frombuffer(data, np.uint8 if packed else "<u2")


def _packed(words: np.ndarray[Any, Any], bits: int) -> bytes:
    content = words.astype(np.uint8 if bits == _BYTE else "<u2").tobytes()
    return content + b"\0" * (len(content) % 2)
