from collections.abc import Mapping

import pytest

from tests.triage.dicomweb.service import body
from triage.dicomweb.multipart import MAX_HEADER_BYTES, Malformed, Multipart, parameters

BINARY = bytes(range(256)) * 3 + b"\r\n--b0undar\r\n--\r\n--b0undary"[:-2]
"""Every byte, and what nearly is a boundary."""


class Collected:
    def __init__(self) -> None:
        self.parts: list[tuple[dict[str, str], bytearray]] = []
        self.ended = 0

    def begin(self, headers: Mapping[str, str]) -> None:
        self.parts.append((dict(headers), bytearray()))

    def write(self, fragment: memoryview) -> None:
        self.parts[-1][1].extend(fragment)

    def end(self) -> None:
        self.ended += 1


def read(content: bytes, step: int = 10**9, boundary: str = "b0undary") -> Collected:
    sink = Collected()
    reader = Multipart(boundary, sink)
    for start in range(0, len(content), step):
        reader.feed(content[start : start + step])
    reader.close()
    return sink


@pytest.mark.parametrize("step", [1, 2, 3, 7, 12, 64, 10**9])
def test_parts_are_the_same_however_the_bytes_come(step: int) -> None:
    sink = read(body(BINARY, b"", b"\r\n", b"--"), step)
    assert [bytes(part) for _, part in sink.parts] == [BINARY, b"", b"\r\n", b"--"]
    assert all(headers == {"content-type": "application/dicom"} for headers, _ in sink.parts)
    assert sink.ended == 4


def test_words_before_the_first_boundary_and_after_the_last_are_passed_over() -> None:
    sink = read(b"This is MIME.\r\n" + body(b"x") + b"And this is no part.")
    assert [bytes(part) for _, part in sink.parts] == [b"x"]


def test_a_boundary_may_be_padded_and_a_part_may_have_no_headers() -> None:
    sink = read(b"--b0undary  \t\r\n\r\nx\r\n--b0undary-- ")
    assert [(headers, bytes(part)) for headers, part in sink.parts] == [({}, b"x")]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no boundary at all",
        b"x" * (MAX_HEADER_BYTES + 20),
        body(b"x")[:-4],
        body(b"x")[:-6],
        b"--b0undary\r\nContent-Type: application/dicom\r\n\r\nx",
        b"--b0undary\r\n" + b"x" * (MAX_HEADER_BYTES + 20),
        b"--b0undary\r\nno colon\r\n\r\nx\r\n--b0undary--",
        b"--b0undaryX\r\n\r\nx\r\n--b0undary--",
    ],
)
@pytest.mark.parametrize("step", [1, 10**9])
def test_what_is_cut_or_no_multipart_is_refused(content: bytes, step: int) -> None:
    with pytest.raises(Malformed):
        read(content, step)


@pytest.mark.parametrize("boundary", ["", "x" * 201, "\N{GREEK SMALL LETTER ALPHA}"])
def test_what_can_be_no_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(Malformed):
        read(body(b"x"), boundary=boundary)


def test_media_types_are_read_with_and_without_quotes() -> None:
    quoted = parameters('Multipart/Related; Type="application/dicom"; boundary="a b"')
    assert quoted == ("multipart/related", {"type": "application/dicom", "boundary": "a b"})
    assert parameters("multipart/related;boundary=x;type=application/dicom") == (
        "multipart/related",
        {"boundary": "x", "type": "application/dicom"},
    )
    assert parameters("") == ("", {})
