"""Walk a data set's elements without building it: lengths, depth and counts, no recursion.

Values are skipped by length, so the time goes with the number of elements and not with the
bytes. Where real files are sloppy in a way that cannot mislead, the walk reads them as pydicom
does; where two readers could disagree, it refuses.
"""

from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple, NoReturn

from pydicom.datadict import dictionary_VR

from triage.errors import Refused
from triage.spool import Bytes

CANNOT_UNDERSTAND: Final = 0xC000
"""C-STORE status "Cannot understand" (PS3.4 Table B.2-1)."""
MAX_DEPTH: Final = 64
MAX_ELEMENTS: Final = 100_000
"""Of one data set or one item; items of one sequence."""
MAX_ELEMENTS_IN_ALL: Final = 1_000_000
"""With all nested items: enhanced multi-frame images hold some fifty elements a frame."""
MAX_FRAGMENTS: Final = 1_000_000
MAX_VALUE_BYTES: Final = 1_048_576
"""Of a value that is not bulk data."""
MAX_PADDING_BYTES: Final = 4_194_304
"""Zeros after the last element: seen in files of real scanners; readers step through them."""
UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
PIXEL_DATA: Final = 0x7FE00010

SHORT_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
)
LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
BULK_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
FRAGMENTED_VRS: Final = frozenset((b"OB", b"OW"))


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a transfer syntax lays out elements (PS3.5 Annex A)."""

    explicit: bool
    big_endian: bool = False


class Value(NamedTuple):
    """Where a top-level value rests in the data."""

    start: int
    length: int
    """``UNDEFINED`` for encapsulated pixel data."""


class _Frame(NamedTuple):
    end: int
    """Of itself, or, when a delimiter closes it, of what holds it."""
    implicit: bool
    is_open: bool = False
    """Closed by a delimiter."""
    holds_items: bool = False


class Walk:
    """One pass over one data set; ``values`` then holds where the wanted elements are."""

    def __init__(self, data: Bytes, encoding: Encoding, wanted: frozenset[int]) -> None:
        order = ">" if encoding.big_endian else "<"
        self.elements = 0
        self.values: dict[int, Value] = {}
        self._data = data
        self._position = 0
        self._wanted = wanted
        self._explicit_header = Struct(order + "HH2sH").unpack_from
        self._header = Struct(order + "HHI").unpack_from
        self._long = Struct(order + "I").unpack_from
        self._stack = [_Frame(len(data), implicit=not encoding.explicit)]
        self._counts = [0]

    def run(self) -> None:
        """Walk to the end.

        Raises:
            Refused: the data set is cut, too deep, too large, or in another encoding.
        """
        self._check_encoding()
        stack = self._stack
        while stack:
            frame = stack[-1]
            if self._position == frame.end:
                if frame.is_open:
                    _refuse("ends inside a sequence")
                stack.pop()
                self._counts.pop()
                continue
            if not (frame.holds_items or frame.implicit) and self._skim(frame):
                continue
            self._count()
            if frame.holds_items:
                self._item(frame)
            else:
                self._element(frame)

    def value(self, tag: int) -> bytes | None:
        """Give a wanted top-level value; None when it is absent."""
        place = self.values.get(tag)
        if place is None:
            return None
        return bytes(self._data[place.start : place.start + place.length])

    def end_of_value(self, tag: int, count: int) -> bytes:
        """Give the last bytes of a wanted top-level value that has a length."""
        place = self.values[tag]
        end = place.start + place.length
        return bytes(self._data[end - count : end])

    def _check_encoding(self) -> None:
        """Refuse another encoding than the negotiated one; pydicom would quietly switch to it."""
        letters = bytes(self._data[4:6])
        looks_explicit = len(letters) == 2 and all(0x40 < one < 0x5B for one in letters)
        if len(self._data) >= 8 and looks_explicit == self._stack[0].implicit:
            _refuse("not in the negotiated transfer syntax")

    def _count(self, more: int = 1) -> None:
        self.elements += more
        self._counts[-1] += more
        if self._counts[-1] > MAX_ELEMENTS or self.elements > MAX_ELEMENTS_IN_ALL:
            _refuse("too many elements")

    def _skim(self, frame: _Frame) -> int:
        """Pass over the plain elements that come next: most of any header; gives how many.

        Whatever is not plain is left to ``_element``.
        """
        data, position, unpack = self._data, self._position, self._explicit_header
        last, wanted = frame.end - 8, self._wanted if len(self._stack) == 1 else ()
        count = 0
        while position <= last and count <= MAX_ELEMENTS:
            group, element, vr, length = unpack(data, position)
            start = position + 8
            if vr not in SHORT_VRS or not 8 <= group < 0xFFFE or start + length > frame.end:
                break
            count += 1
            if (tag := group << 16 | element) in wanted:
                self._keep(tag, Value(start, length))
            position = start + length
        self._position = position
        self._count(count)
        return count

    def _element(self, frame: _Frame) -> None:
        position, room = self._position, frame.end - self._position
        if room < 8:
            self._tail(frame)
            return
        if frame.implicit:
            group, element, length = self._header(self._data, position)
            vr, start = b"", position + 8
        else:
            group, element, vr, length = self._explicit_header(self._data, position)
            start = position + 8
            if vr not in SHORT_VRS:
                group, element, vr, length, start = self._other_header(position, room)
        tag = group << 16 | element
        if group == 0xFFFE:
            self._close_item(frame, tag)
        elif length == UNDEFINED:
            self._undefined(frame, tag, vr, start)
        elif length > frame.end - start:
            _refuse(f"({group:04X},{element:04X}) reaches beyond the end")
        else:
            self._defined(frame, tag, vr, Value(start, length))

    def _other_header(self, position: int, room: int) -> tuple[int, int, bytes, int, int]:
        """Read the rarer headers: long lengths, delimiters, one implicit element among explicit."""
        group, element, vr, length = self._explicit_header(self._data, position)
        if vr in LONG_VRS:
            if room < 12:
                _refuse(f"({group:04X},{element:04X}) is cut in its header")
            return group, element, vr, self._long(self._data, position + 8)[0], position + 12
        if group == 0xFFFE or not b"AA" <= vr <= b"ZZ":
            group, element, length = self._header(self._data, position)
            return group, element, b"", length, position + 8
        return group, element, vr, length, position + 8

    def _defined(self, frame: _Frame, tag: int, vr: bytes, place: Value) -> None:
        if len(self._stack) == 1:
            if tag < 0x00080000:
                self._low_group(tag)
                return
            if tag in self._wanted:
                self._keep(tag, place)
        end = place.start + place.length
        if vr == b"SQ" or (vr in (b"", b"UN") and _vr_of(tag) == "SQ"):
            self._position = place.start
            self._push(_Frame(end, frame.implicit, holds_items=True))
            return
        if place.length > MAX_VALUE_BYTES and not _is_bulk(tag, vr):
            _refuse(f"{_name(tag)} is too long")
        self._position = end

    def _undefined(self, frame: _Frame, tag: int, vr: bytes, start: int) -> None:
        if vr in FRAGMENTED_VRS:
            if len(self._stack) == 1 and tag in self._wanted:
                self._keep(tag, Value(start, UNDEFINED))
            self._position = self._fragments(tag, start, frame.end)
        elif vr in (b"SQ", b"UN", b"") and tag != PIXEL_DATA:
            self._position = start
            self._push(_Frame(frame.end, frame.implicit, is_open=True, holds_items=True))
        else:
            _refuse(f"{_name(tag)} has no length")

    def _fragments(self, tag: int, position: int, end: int) -> int:
        """Skip encapsulated pixel data (PS3.5 A.4); gives where it ends."""
        for _ in range(MAX_FRAGMENTS):
            if end - position < 8:
                break
            group, element, length = self._header(self._data, position)
            position += 8
            if (group << 16 | element) == SEQUENCE_END:
                return position
            if (group << 16 | element) != ITEM or length > end - position:
                break
            position += length
        return _refuse(f"{_name(tag)} is cut or has damaged fragments")

    def _item(self, frame: _Frame) -> None:
        if frame.end - self._position < 8:
            _refuse("ends inside a sequence")
        group, element, length = self._header(self._data, self._position)
        tag, start = group << 16 | element, self._position + 8
        if tag == SEQUENCE_END:
            self._position = start if frame.is_open else frame.end
            self._stack.pop()
            self._counts.pop()
            return
        is_open = length == UNDEFINED
        if tag != ITEM or (not is_open and length > frame.end - start):
            _refuse("a sequence holds a damaged item")
        self._position = start
        end = frame.end if is_open else start + length
        implicit = frame.implicit or self._is_implicit(start, end)
        self._push(_Frame(end, implicit, is_open=is_open))

    def _is_implicit(self, start: int, end: int) -> bool:
        """Tell whether an item among explicit ones is implicit, as PS3.5 6.2.2 allows under UN."""
        letters = bytes(self._data[start + 4 : start + 6])
        return end - start >= 8 and not all(0x40 < one < 0x5B for one in letters)

    def _close_item(self, frame: _Frame, tag: int) -> None:
        at_its_end = not frame.is_open and self._position + 8 == frame.end and len(self._stack) > 1
        if tag != ITEM_END or not (frame.is_open or at_its_end):
            _refuse("a delimiter is out of place")
        self._position += 8
        self._stack.pop()
        self._counts.pop()

    def _low_group(self, tag: int) -> None:
        """Refuse groups that belong to commands and file meta: there they would be believed."""
        if tag:
            _refuse(f"{_name(tag)} does not belong into a data set")
        self._tail(self._stack[0])

    def _tail(self, frame: _Frame) -> None:
        """Accept some zeros after the last element, and nothing else."""
        rest = bytes(self._data[self._position : self._position + MAX_PADDING_BYTES])
        is_all = self._position + len(rest) == frame.end
        if len(self._stack) > 1 or not is_all or rest.strip(b"\0"):
            _refuse("ends inside an element's header")
        self._position = frame.end

    def _push(self, frame: _Frame) -> None:
        if len(self._stack) > 2 * MAX_DEPTH:
            _refuse("sequences are nested too deep")
        self._stack.append(frame)
        self._counts.append(0)

    def _keep(self, tag: int, place: Value) -> None:
        if tag in self.values and self.value(tag) != bytes(
            self._data[place.start : place.start + place.length]
        ):
            _refuse(f"{_name(tag)} is there twice")
        self.values[tag] = place


@lru_cache(maxsize=8192)
def _vr_of(tag: int) -> str:
    """Give the dictionary's VR, "UN" for private and unknown elements."""
    if tag >> 16 & 1:
        return "UN"
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def _is_bulk(tag: int, vr: bytes) -> bool:
    names = vr.decode("latin-1") if vr else _vr_of(tag)
    return any(name in BULK_VRS for name in names.split(" or "))


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _refuse(why: str) -> NoReturn:
    raise Refused(CANNOT_UNDERSTAND, why)
