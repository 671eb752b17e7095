"""Native pixel data is as long as its description says, but for a row of zeros."""

from typing import Any

import pytest

from tests.triage.receive import build
from triage.errors import Refused
from triage.receive.scan import scan


def image(length: int, **changes: object) -> bytes:
    return build.encode(build.ct(PixelData=bytes(length), **changes))


def is_taken(data: bytes) -> bool:
    status = build.outcome(data)
    assert status in (0, 0xC000)
    return not status


@pytest.mark.parametrize("wrong", [0, 1, 2, 510, 546, 1024])
def test_a_wrong_length_is_refused(wrong: int) -> None:
    with pytest.raises(Refused, match="pixel data has the wrong length"):
        scan(image(wrong), build.EXPLICIT)
    assert is_taken(image(512))


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({"NumberOfFrames": "3"}, 3 * 512),
        ({"NumberOfFrames": ""}, 512),
        ({"BitsAllocated": 8, "Rows": 3, "Columns": 3}, 10),
        ({"BitsAllocated": 8, "SamplesPerPixel": 3}, 768),
        ({"BitsAllocated": 32}, 1024),
        ({"BitsAllocated": 1, "Rows": 5, "Columns": 5}, 4),
        ({"BitsAllocated": 1, "Rows": 5, "Columns": 5, "NumberOfFrames": "8"}, 26),
    ],
)
def test_frames_samples_bits_and_the_padding_byte_count(
    changes: dict[str, Any], right: int
) -> None:
    assert is_taken(image(right, **changes))
    assert not is_taken(image(right + 66, **changes))
    assert not is_taken(image(right - 2, **changes))


def test_up_to_a_row_of_zeros_after_the_pixels_is_taken() -> None:
    assert is_taken(image(514))
    assert is_taken(image(512 + 32))
    assert is_taken(build.encode(build.ct(PixelData=b"\x01" * 512 + bytes(32))))


@pytest.mark.parametrize("tail", [b"\x01\0", b"\0\x01", bytes(30) + b"\x01\0", b"\0\0\0"])
def test_anything_but_an_even_run_of_zeros_is_refused(tail: bytes) -> None:
    element = build.raw(0x7FE00010, b"OW", bytes(512) + tail)
    assert not is_taken(build.encode(build.ct(PixelData=None)) + element)


def test_single_bit_frames_may_be_padded_each() -> None:
    assert is_taken(image(32, BitsAllocated=1, Rows=5, Columns=5, NumberOfFrames="8"))


def test_subsampled_colour_is_shorter_and_may_still_be_whole() -> None:
    ybr: dict[str, Any] = {
        "BitsAllocated": 8,
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "YBR_FULL_422",
    }
    assert is_taken(image(512, **ybr))
    assert is_taken(image(768, **ybr))
    assert not is_taken(image(640, **ybr))


def test_an_odd_length_without_its_padding_byte_is_taken() -> None:
    description = build.ct(BitsAllocated=8, Rows=3, Columns=3, PixelData=None)
    data = build.encode(description) + build.raw(0x7FE00010, b"OB", bytes(9))
    assert is_taken(data)


@pytest.mark.parametrize(("tag", "vr", "size"), [(0x7FE00008, b"OF", 4), (0x7FE00009, b"OD", 8)])
def test_float_pixels_are_checked_too(tag: int, vr: bytes, size: int) -> None:
    description = build.encode(build.ct(PixelData=None, BitsAllocated=None))
    assert is_taken(description + build.raw(tag, vr, bytes(256 * size)))
    assert not is_taken(description + build.raw(tag, vr, bytes(256 * size - size)))


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "BitsAllocated"])
def test_without_a_description_there_is_nothing_to_check_against(keyword: str) -> None:
    missing: dict[str, Any] = {keyword: None}
    assert is_taken(build.encode(build.ct(**missing)))


def test_a_frame_count_that_is_no_number_cannot_be_checked() -> None:
    data = build.encode(build.ct(PixelData=None))
    frames = build.raw(0x00280008, b"IS", b"many")
    assert is_taken(data + frames + build.raw(0x7FE00010, b"OW", bytes(6)))


def test_icons_inside_sequences_are_not_the_image() -> None:
    icon = build.raw(0x7FE00010, b"OB", bytes(4))
    item = build.ITEM + icon + build.ITEM_END
    data = build.encode(build.ct(PixelData=None))
    sequence = build.raw(0x00880200, b"SQ", item + build.SEQUENCE_END, 0xFFFFFFFF)
    assert not scan(data + sequence, build.EXPLICIT).has_pixel_data
