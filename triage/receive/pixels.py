"""Check that native pixel data is as long as its description says (PS3.5 8.1, PS3.3 C.7.6.3).

Some real files hold up to a row of zeros more; readers leave them out.
"""

from typing import Final

from triage.errors import Refused
from triage.receive.walk import CANNOT_UNDERSTAND, PIXEL_DATA, UNDEFINED, Encoding, Walk

SAMPLES_PER_PIXEL: Final = 0x00280002
PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
BITS_ALLOCATED: Final = 0x00280100
FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_PIXEL_DATA: Final = 0x7FE00009
PIXEL_TAGS: Final = (
    SAMPLES_PER_PIXEL, PHOTOMETRIC_INTERPRETATION, NUMBER_OF_FRAMES, ROWS, COLUMNS,
    BITS_ALLOCATED, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA, PIXEL_DATA,
)  # fmt: skip
BITS: Final = {FLOAT_PIXEL_DATA: 32, DOUBLE_PIXEL_DATA: 64}


def check_pixels(walk: Walk, encoding: Encoding, *, is_native: bool) -> bool:
    """Tell whether there is pixel data, having checked its length where it is native.

    Where the description is missing or unreadable there is nothing to check against: such an
    instance is taken, and its study is then shown as not analysed.

    Raises:
        Refused: 0xC000, the length is wrong, or encapsulated data came as native.
    """
    present = [tag for tag in (PIXEL_DATA, *BITS) if tag in walk.values]
    for tag in present:
        length = walk.values[tag].length
        if length == UNDEFINED:
            if is_native:
                raise Refused(CANNOT_UNDERSTAND, "encapsulated pixel data in a native syntax")
        elif is_native or tag != PIXEL_DATA:
            expected = _expected(walk, encoding, BITS.get(tag))
            if expected and not (length in expected or _is_padded(walk, tag, expected, encoding)):
                raise Refused(CANNOT_UNDERSTAND, "pixel data has the wrong length")
    return bool(present)


def _expected(walk: Walk, encoding: Encoding, bits: int | None) -> set[int]:
    """Give the lengths in bytes that fit the description; none when it cannot be read."""
    rows, columns = _number(walk, ROWS, encoding), _number(walk, COLUMNS, encoding)
    bits = bits or _number(walk, BITS_ALLOCATED, encoding)
    samples = _number(walk, SAMPLES_PER_PIXEL, encoding) or 1
    frames = _frames(walk)
    if rows is None or columns is None or bits is None or frames is None:
        return set()
    frame_bits = rows * columns * samples * bits
    lengths = {(frame_bits * frames + 7) // 8}
    if bits == 1:  # some pad every frame, though frames are to follow each other bit by bit
        lengths.add((frame_bits + 7) // 8 * frames)
    if _text(walk, PHOTOMETRIC_INTERPRETATION) == b"YBR_FULL_422":  # PS3.3 C.7.6.3.1.2
        lengths.add(frame_bits * frames // 8 // 3 * 2)
    return lengths | {one + one % 2 for one in lengths}


def _is_padded(walk: Walk, tag: int, expected: set[int], encoding: Encoding) -> bool:
    """Tell whether zeros follow the pixels, of even length in all and no more than a row."""
    length = walk.values[tag].length
    bits = BITS.get(tag) or _number(walk, BITS_ALLOCATED, encoding) or 0
    samples = _number(walk, SAMPLES_PER_PIXEL, encoding) or 1
    row_bytes = (_number(walk, COLUMNS, encoding) or 0) * samples * bits // 8
    tails = [length - one for one in expected if 0 < length - one <= row_bytes]
    return bool(tails) and length % 2 == 0 and not any(walk.end_of_value(tag, min(tails)))


def _number(walk: Walk, tag: int, encoding: Encoding) -> int | None:
    value = walk.value(tag)
    if value is None or len(value) not in (2, 4):
        return None
    return int.from_bytes(value, "big" if encoding.big_endian else "little")


def _frames(walk: Walk) -> int | None:
    text = _text(walk, NUMBER_OF_FRAMES)
    if not text:
        return 1
    return int(text) if text.isdigit() and len(text) <= 10 else None


def _text(walk: Walk, tag: int) -> bytes:
    return (walk.value(tag) or b"").strip(b"\0 ")
