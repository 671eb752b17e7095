"""Which images were analysed, twice as a report says it: TID 1600, and the evidence (C.17.2).

A CT study has hundreds of images and two items for each, all alike but for the UIDs; they are
encoded directly.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Final

from highdicom.sr import ContainerContentItem, ContentItem, ImageContentItem
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from triage.outputs.codes import modality
from triage.outputs.encode import element, item, raw_item
from triage.outputs.items import CONTAINS, CONTEXT, coded, concept, counted, pointed
from triage.outputs.source import Place

CONTENT: Final = 0x0040A730
"""Content Sequence."""
_PIXELS: Final = Code("{pixels}", "UCUM", "pixels")
_STUDY, _SERIES = 0x0020000D, 0x0020000E
_OF_CLASS, _OF_INSTANCE = 0x00081150, 0x00081155
_SOPS, _SERIES_OF = 0x00081199, 0x00081115


def image_library(places: Sequence[Place]) -> bytes:
    """Give the item of TID 1600: every image, grouped by what TID 1602 says of them in common."""
    library = ContainerContentItem(name=concept(codes.DCM.ImageLibrary), relationship_type=CONTAINS)
    groups = [_group(list(images)) for _, images in groupby(places, key=_shared)]
    return item(library, element(CONTENT, "SQ", b"".join(groups)))


def evidence(study_instance_uid: str, places: Iterable[Place]) -> bytes:
    """Give the value of an evidence sequence: each instance once, by series (PS3.3 C.17.2.1)."""
    by_series: dict[str, dict[str, Place]] = {}
    for place in places:
        by_series.setdefault(place.series_instance_uid, {})[place.sop_instance_uid] = place
    series = [
        raw_item(
            element(_SOPS, "SQ", b"".join(map(_referenced, members.values()))),
            _uid(_SERIES, series_instance_uid),
        )
        for series_instance_uid, members in by_series.items()
    ]
    return raw_item(element(_SERIES_OF, "SQ", b"".join(series)), _uid(_STUDY, study_instance_uid))


def _shared(place: Place) -> tuple[str, str, int, int]:
    return place.series_instance_uid, place.modality, place.rows, place.columns


def _group(places: Sequence[Place]) -> bytes:
    group = ContainerContentItem(
        name=concept(codes.DCM.ImageLibraryGroup), relationship_type=CONTAINS
    )
    tail = _constant_part()
    images = [raw_item(element(_SOPS, "SQ", _referenced(place)), tail) for place in places]
    common = [item(one) for one in _descriptors(places[0])]
    return item(group, element(CONTENT, "SQ", b"".join([*common, *images])))


def _descriptors(place: Place) -> list[ContentItem]:
    """TID 1602, of a whole group."""
    return [
        coded(codes.DCM.Modality, modality(place.modality), CONTEXT),
        pointed(codes.DCM.SeriesInstanceUID, place.series_instance_uid, CONTEXT),
        counted(codes.DCM.PixelDataRows, place.rows, _PIXELS, CONTEXT),
        counted(codes.DCM.PixelDataColumns, place.columns, _PIXELS, CONTEXT),
    ]


@lru_cache(maxsize=1)
def _constant_part() -> bytes:
    """Give what follows Referenced SOP Sequence in an IMAGE item."""
    image = ImageContentItem(
        name=concept(codes.SCT.Source),
        referenced_sop_class_uid="1.2",
        referenced_sop_instance_uid="1.2",
        relationship_type=CONTAINS,
    )
    del image.ReferencedSOPSequence
    return item(image)[8:]


def _referenced(place: Place) -> bytes:
    return raw_item(
        _uid(_OF_CLASS, place.sop_class_uid), _uid(_OF_INSTANCE, place.sop_instance_uid)
    )


def _uid(tag: int, uid: str) -> bytes:
    return element(tag, "UI", uid.encode())
