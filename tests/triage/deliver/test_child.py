"""The sending process, called in this one: every fate becomes a word of JSON."""

import pytest

from tests.triage.outputs import studies
from tests.triage.peers import Scripted, scripted
from triage.deliver import child

DOCUMENT = {"kind": "image", "sop_class_uid": "", "sop_instance_uid": ""}


def later(words: str, code: int | None) -> dict[str, object]:
    return {"again": words, "code": code, "in_doubt": False}


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (0x0000, {"status": 0}),
        (0xB000, {"status": 0xB000}),
        (0xA700, later("pacs cannot store it now (0xA700)", 0xA700)),
        (
            0x0122,
            {"refused": ["refused", "pacs refused the object (0x0122)"], "code": 0x0122},
        ),
    ],
)
def test_every_answer_is_passed_on(status: int, answer: dict[str, object]) -> None:
    content = studies.bundled("CT_small.dcm").read_bytes()
    with scripted(Scripted([status])) as to:
        assert child.answered({"document": DOCUMENT}, content, to) == answer


def test_no_answer_is_in_doubt() -> None:
    content = studies.bundled("CT_small.dcm").read_bytes()
    with scripted(Scripted(abort=True)) as to:
        assert child.answered({"document": DOCUMENT}, content, to)["in_doubt"] is True


def test_what_is_in_doubt_is_asked_for_and_not_sent_again() -> None:
    content = studies.bundled("CT_small.dcm").read_bytes()
    with scripted(script := Scripted()) as to:
        answer = child.answered({"document": DOCUMENT, "in_doubt": True}, content, to)
    assert answer == {"status": 0, "found": True}
    assert (len(script.queries), len(script.stored)) == (1, 0)


@pytest.mark.parametrize("offers_find", [True, False])
def test_what_is_in_doubt_and_not_found_is_sent(offers_find: bool) -> None:
    content = studies.bundled("CT_small.dcm").read_bytes()
    with scripted(script := Scripted(finds=False), find=offers_find) as to:
        answer = child.answered({"document": DOCUMENT, "in_doubt": True}, content, to)
    assert answer == {"status": 0}
    assert (len(script.queries), len(script.stored)) == (int(offers_find), 1)


def test_bytes_that_are_no_dicom_are_refused_here() -> None:
    with scripted(script := Scripted()) as to:
        answer = child.answered({"document": DOCUMENT}, b"x" * 200, to)
    assert answer["refused"][0] == "internal"
    assert script.stored == []
