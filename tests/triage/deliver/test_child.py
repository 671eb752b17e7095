"""The sending process, called in this one: every fate becomes a word of JSON."""

from pathlib import Path

import pytest

from tests.triage.outputs import studies
from tests.triage.peers import Scripted, scripted
from triage.deliver import child


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (0x0000, {"status": 0}),
        (0xB000, {"status": 0xB000}),
        (0xA700, {"again": "pacs cannot store it now (0xA700)"}),
        (0x0122, {"refused": ["refused", "pacs refused the object (0x0122)"]}),
    ],
)
def test_every_answer_is_passed_on(status: int, answer: dict[str, object]) -> None:
    content = studies.bundled("CT_small.dcm").read_bytes()
    with scripted(Scripted([status])) as to:
        assert child.attempt(content, to) == answer


def test_bytes_that_are_no_dicom_are_refused_here() -> None:
    with scripted(script := Scripted()) as to:
        assert child.attempt(b"x" * 200, to)["refused"][0] == "internal"
    assert script.stored == []


def test_the_file_leaves_no_trace() -> None:
    with child.as_file(b"content") as path:
        assert path.read_bytes() == b"content"
        real = Path(path).resolve()
    assert not real.exists()
