"""A document as a file: for no other process, and no longer than it is sent."""

from pathlib import Path

import pytest

from triage.deliver import dicom
from triage.errors import Broken
from triage.finding import Document


def test_the_file_leaves_no_trace() -> None:
    with dicom.as_file(b"content") as path:
        assert path.read_bytes() == b"content"
        real = Path(path).resolve()
    assert not real.exists()


def test_what_is_no_dicom_file_never_leaves() -> None:
    document = Document("image", "", "", b"x" * 200)
    with pytest.raises(Broken, match="no DICOM file"), dicom.as_item(document):
        raise AssertionError
