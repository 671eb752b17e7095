"""To a PACS by C-STORE; what is in doubt is asked for by C-FIND."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.errors import InvalidDicomError

from triage import dimse
from triage.destinations import Dimse
from triage.dimse import Item
from triage.errors import Broken
from triage.finding import Document


def store(document: Document, to: Dimse) -> int:
    """Send the document's bytes as they are; gives the C-STORE status.

    Raises:
        InDoubt, TryAgain, Broken: as ``dimse.send``; Broken too when this is no DICOM file.
    """
    with as_item(document) as item:
        return dimse.send(item, to)


def holds(document: Document, to: Dimse) -> bool:
    """Ask by C-FIND at the IMAGE level; False where the PACS offers none.

    Raises:
        TryAgain: nobody answers.
    """
    with as_item(document) as item:
        try:
            return dimse.holds(item, to)
        except Broken:
            return False


@contextmanager
def as_item(document: Document) -> Iterator[Item]:
    """Give the document as a file that no other process sees."""
    with as_file(document.content) as path:
        try:
            item = dimse.inspect(path)
        except InvalidDicomError:
            raise Broken(code="internal", detail="the document is no DICOM file") from None
        yield item


@contextmanager
def as_file(content: bytes) -> Iterator[Path]:
    """Give the bytes a path that no other process sees, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("document"), "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)
            file.flush()
            yield Path(f"/proc/self/fd/{file.fileno()}")
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield Path(file.name)
