"""Content items of a report tree in few words, by highdicom."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    NumContentItem,
    RelationshipTypeValues,
    TextContentItem,
    UIDRefContentItem,
)
from pydicom.sr.coding import Code

from triage.outputs.tidy import clean

CONTAINS: Final = RelationshipTypeValues.CONTAINS
CONTEXT: Final = RelationshipTypeValues.HAS_ACQ_CONTEXT
OBSERVER: Final = RelationshipTypeValues.HAS_OBS_CONTEXT
MODIFIER: Final = RelationshipTypeValues.HAS_CONCEPT_MOD


@lru_cache(maxsize=512)
def concept(code: Code) -> CodedConcept:
    """Give a code as an item of a code sequence. It is shared: nobody changes it."""
    return CodedConcept.from_code(code)


def coded(
    name: Code, value: Code, relationship: RelationshipTypeValues = CONTAINS
) -> CodeContentItem:
    """Give a CODE item."""
    return CodeContentItem(name=concept(name), value=concept(value), relationship_type=relationship)


def said(name: Code, text: str, relationship: RelationshipTypeValues = CONTAINS) -> TextContentItem:
    """Give a TEXT item, of at most 1024 bytes, never empty."""
    return TextContentItem(
        name=concept(name), value=clean(text, 1024) or "-", relationship_type=relationship
    )


def counted(
    name: Code, value: float, unit: Code, relationship: RelationshipTypeValues = CONTAINS
) -> NumContentItem:
    """Give a NUM item."""
    return NumContentItem(
        name=concept(name), value=value, unit=concept(unit), relationship_type=relationship
    )


def pointed(
    name: Code, uid: str, relationship: RelationshipTypeValues = CONTAINS
) -> UIDRefContentItem:
    """Give a UIDREF item."""
    return UIDRefContentItem(name=concept(name), value=uid, relationship_type=relationship)


def container(name: Code, items: Iterable[ContentItem] = ()) -> ContainerContentItem:
    """Give a CONTAINER item that its parent contains."""
    made = ContainerContentItem(name=concept(name), relationship_type=CONTAINS)
    made.ContentSequence = ContentSequence(list(items))
    return made
