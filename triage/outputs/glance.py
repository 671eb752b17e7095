"""A glance at a stored file: the few elements that every image of a study is asked for.

A CT series has hundreds of files, alike but for their UIDs, and reading each one whole takes most
of the time that a report takes. Where a file is laid out as nearly all are, its elements are found
by their lengths alone; of any other this says nothing, and the full reader is asked.
"""

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from struct import Struct, error
from typing import Final

from pydicom.datadict import tag_for_keyword

from triage.outputs.tidy import OPTIONAL, ORDER, TYPE_2, printable

PREFIX_BYTES: Final = 16_384
"""Of a file; what is wanted lies in front of the pixels, mostly within four thousand bytes."""
MAX_DEPTH: Final = 16
_PREAMBLE: Final = 128
_UNDEFINED: Final = 0xFFFFFFFF
_NO_LENGTH: Final = b"\xff\xff\xff\xff"
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_END_OF_ITEM: Final = (0xFFFE, 0xE00D)
_TRANSFER_SYNTAX: Final = 0x00020010
_IMPLICIT: Final = b"1.2.840.10008.1.2"
_OTHERWISE: Final = frozenset({b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"})
"""Big endian, deflated."""
_LONG: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_tag_of = Struct("<HH").unpack_from
_short_length = Struct("<H").unpack_from
_length = Struct("<I").unpack_from
_header = Struct("<HHI").unpack_from
_short_header = Struct("<HH2sH").unpack_from


def _tags(*keywords: str) -> tuple[int, ...]:
    return tuple(tag for one in keywords if (tag := tag_for_keyword(one)) is not None)


IDENTITY: Final = _tags("SpecificCharacterSet", "StudyInstanceUID", *TYPE_2, *OPTIONAL, *ORDER)
"""Whose a study is: files in which these are the same bytes say the same."""
PLACE: Final = _tags(
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns"
)
_WANTED: Final = frozenset({*IDENTITY, *PLACE})
_LAST: Final = max(_WANTED)


class _OddError(Exception):
    """Only a full reader can tell."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a file's elements begin and which are wanted: for the files that are laid out alike.

    All lengths are written down, so a file with the same headers at the same places has the same
    elements, and walking it once more would end as the first walk did.
    """

    heads: tuple[tuple[int, int, bytes], ...]
    wanted: tuple[tuple[int, int, int], ...]
    """Tag, and where its value begins and ends."""
    encoding: bytes

    def read(self, data: bytes) -> "Glance | None":
        """Give what the file says; None where it is laid out otherwise."""
        if len(data) < self.wanted[-1][2]:
            return None
        for begin, end, head in self.heads:
            if data[begin:end] != head:
                return None
        values = {tag: data[begin:end] for tag, begin, end in self.wanted}
        if values.pop(_TRANSFER_SYNTAX).strip(b"\0 ") != self.encoding:
            return None
        return _told(self.encoding, values, self)


@dataclass(slots=True)
class _Walk:
    """What was passed on the way through a file."""

    heads: list[tuple[int, int]]
    wanted: list[tuple[int, int, int]]
    has_lengths: bool = True


@dataclass(frozen=True, slots=True)
class Glance:
    """What stands in a file, as bytes."""

    identity: tuple[bytes | None, ...]
    """The elements of ``IDENTITY``, None where absent, and how they are encoded."""
    values: dict[int, bytes]
    layout: Layout | None = field(default=None, compare=False)

    def text(self, tag: int) -> str:
        """Give a value of the default repertoire, without its padding."""
        return _plain(self.values.get(tag, b""))

    def number(self, tag: int) -> int:
        """Give a value of two bytes; 0 where there is none."""
        value = self.values.get(tag, b"")
        return int(_short_length(value)[0]) if len(value) == 2 else 0


@lru_cache(maxsize=4096)
def _plain(value: bytes) -> str:
    return printable(value.rstrip(b"\0 ").decode("latin-1"))


def glance(path: Path, like: Glance | None = None) -> Glance | None:
    """Give what a file says of itself; None where it takes the full reader to tell.

    ``like`` is a glance at a file that may be laid out alike: then this one is read in its places.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(file, PREFIX_BYTES)
    except OSError:
        return None
    finally:
        os.close(file)
    if like is not None and like.layout is not None and (found := like.layout.read(data)):
        return found
    try:
        return _glance(data)
    except (_OddError, error, IndexError):
        return None


def _glance(data: bytes) -> Glance:
    if data[_PREAMBLE : _PREAMBLE + 4] != b"DICM":
        raise _OddError
    at = _PREAMBLE + 4
    if _header(data, at)[:2] != (2, 0):
        raise _OddError
    start = at + 12 + _length(data, at + 8)[0]
    walk = _Walk([(_PREAMBLE, at), (at, at + 12)], [])
    meta = _elements(data, at, start, walk, explicit=True)
    syntax = meta.get(_TRANSFER_SYNTAX, b"").strip(b"\0 ")
    if not syntax or syntax in _OTHERWISE:
        raise _OddError
    explicit = syntax != _IMPLICIT
    values = _elements(data, start, len(data), walk, explicit=explicit)
    heads = tuple((begin, end, data[begin:end]) for begin, end in walk.heads)
    layout = Layout(heads, tuple(walk.wanted), syntax) if walk.has_lengths else None
    return _told(syntax, values, layout)


def _told(syntax: bytes, values: dict[int, bytes], layout: Layout | None) -> Glance:
    encoding = syntax if syntax == _IMPLICIT else b""
    return Glance((encoding, *map(values.get, IDENTITY)), values, layout)


def _elements(data: bytes, at: int, end: int, walk: _Walk, *, explicit: bool) -> dict[int, bytes]:
    """Give the wanted values of the top level; they must come in order."""
    found: dict[int, bytes] = {}
    before = -1
    while at < end:
        group, element, vr, length = _short_header(data, at)
        tag = group << 16 | element
        if tag > _LAST:
            walk.heads.append((at, at + 8))
            return found
        if tag <= before:
            raise _OddError
        if explicit and vr in _SHORT:  # as nearly all are; the loop is most of what a glance costs
            value = at + 8
            after = value + length
        else:
            value, after = _value(data, at, explicit=explicit, depth=0)
            walk.has_lengths &= data[value - 4 : value] != _NO_LENGTH
        if after > len(data):
            raise _OddError
        walk.heads.append((at, value))
        if tag in _WANTED or tag == _TRANSFER_SYNTAX:
            found[tag] = data[value:after]
            walk.wanted.append((tag, value, after))
        before, at = tag, after
    if end == len(data) and before < _LAST:
        raise _OddError  # the prefix ended first
    return found


def _value(data: bytes, at: int, *, explicit: bool, depth: int) -> tuple[int, int]:
    """Give where an element's value begins and what comes after it."""
    vr = data[at + 4 : at + 6]
    if not explicit:
        start, length = at + 8, _length(data, at + 4)[0]
    elif vr in _SHORT:
        start, length = at + 8, _short_length(data, at + 6)[0]
    elif vr in _LONG:
        start, length = at + 12, _length(data, at + 8)[0]
    else:
        raise _OddError
    if length != _UNDEFINED:
        return start, start + length
    if depth == MAX_DEPTH or (explicit and vr != b"SQ"):
        raise _OddError
    return start, _past(data, start, explicit=explicit, depth=depth + 1)


def _past(data: bytes, at: int, *, explicit: bool, depth: int) -> int:
    """Give where a sequence without a length ends."""
    while True:
        group, element, length = _header(data, at)
        tag, at = group << 16 | element, at + 8
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise _OddError
        if length != _UNDEFINED:
            at += length
            continue
        while _tag_of(data, at) != _END_OF_ITEM:
            at = _value(data, at, explicit=explicit, depth=depth)[1]
        at += 8
