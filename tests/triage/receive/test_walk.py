"""The walk is whole, bounded, and never recurses."""

import struct

import pytest
from pydicom.dataset import Dataset

from tests.timing import cpu_s
from tests.triage.receive import build
from triage.errors import Refused
from triage.receive import walk as walk_module
from triage.receive.walk import Encoding, Walk

EXPLICIT = Encoding(explicit=True)
IMPLICIT = Encoding(explicit=False)


def walked(data: bytes, encoding: Encoding = EXPLICIT) -> Walk:
    walk = Walk(data, encoding, frozenset({0x00100020, 0x7FE00010}))
    walk.run()
    return walk


def refused(data: bytes, encoding: Encoding = EXPLICIT) -> str:
    with pytest.raises(Refused) as why:
        walked(data, encoding)
    assert why.value.status == 0xC000
    return str(why.value)


@pytest.mark.parametrize(
    ("syntax", "encoding"),
    [
        (build.EXPLICIT, EXPLICIT),
        (build.IMPLICIT, IMPLICIT),
        (build.BIG, Encoding(explicit=True, big_endian=True)),
    ],
)
class TestEveryEncoding:
    def test_it_finds_the_same_values_and_counts(self, syntax: str, encoding: Encoding) -> None:
        walk = walked(build.ct_bytes(syntax), encoding)
        assert (walk.value(0x00100020) or b"").strip() == b"CANARY-ID"
        assert walk.values[0x7FE00010].length == 512
        # 17 elements at the top, one item, two elements in it
        assert walk.elements == len(build.ct()) + 3

    def test_every_cut_is_refused_except_between_elements(
        self, syntax: str, encoding: Encoding
    ) -> None:
        data = build.ct_bytes(syntax)
        whole = [cut for cut in range(len(data)) if not _is_refused(data[:cut], encoding)]
        starts = _starts(syntax)
        assert set(whole) <= starts
        assert max(whole) < len(data) - 512  # never inside or after a part of the pixel data

    def test_another_encoding_is_refused(self, syntax: str, encoding: Encoding) -> None:
        for other in {build.EXPLICIT, build.IMPLICIT, build.BIG} - {syntax}:
            refused(build.ct_bytes(other), encoding)


def _is_refused(data: bytes, encoding: Encoding) -> bool:
    try:
        walked(data, encoding)
    except Refused:
        return True
    return False


def _starts(syntax: str) -> set[int]:
    """Give the offsets at which top-level elements of the small CT begin, with tails of zeros."""
    dataset, starts, part = build.ct(), {0}, Dataset()
    for element in dataset:
        part.add(element)
        length = len(build.encode(part, syntax))
        starts.add(length)
    # up to seven zeros after the last whole element are padding
    return starts | {start + more for start in starts for more in range(8)}


class TestLengths:
    def test_an_element_beyond_the_end_is_named(self) -> None:
        data = build.raw(0x00100010, b"PN", b"A^B ", length=5)
        assert refused(data) == "(0010,0010) reaches beyond the end"

    def test_an_item_beyond_its_sequence_is_refused(self) -> None:
        item = struct.pack("<HHI", 0xFFFE, 0xE000, 9) + bytes(8)
        refused(build.raw(0x00081140, b"SQ", item))

    def test_a_sequence_without_its_end_is_refused(self) -> None:
        refused(build.raw(0x00081140, b"SQ", build.ITEM, 0xFFFFFFFF))
        refused(build.raw(0x00081140, b"SQ", build.ITEM + build.ITEM_END, 0xFFFFFFFF))

    def test_fragments_without_their_end_are_refused(self) -> None:
        data = build.fragments(b"abcd", b"efgh")
        assert walked(data).values[0x7FE00010].length == walk_module.UNDEFINED
        for cut in range(13, len(data)):
            refused(data[:cut])

    def test_text_beyond_a_mebibyte_is_refused_and_bulk_is_not(self) -> None:
        most = walk_module.MAX_VALUE_BYTES
        walked(build.raw(0x00081190, b"UT", bytes(most)))
        assert "too long" in refused(build.raw(0x00081190, b"UT", bytes(most + 2)))
        walked(build.raw(0x00091001, b"UN", bytes(most + 2)))
        walked(build.raw(0x00420011, b"OB", bytes(most + 2)))

    def test_in_implicit_data_the_dictionary_says_what_is_bulk(self) -> None:
        size = walk_module.MAX_VALUE_BYTES + 2
        for tag, fine in ((0x00104000, False), (0x7FE00010, True), (0x00283006, True)):
            data = struct.pack("<HHI", tag >> 16, tag & 0xFFFF, size) + bytes(size)
            assert _is_refused(data, IMPLICIT) is not fine

    def test_an_undefined_length_where_none_may_be_is_refused(self) -> None:
        refused(build.raw(0x00081190, b"UT", b"", 0xFFFFFFFF) + build.SEQUENCE_END)


class TestLimits:
    @pytest.mark.parametrize("make", [build.nested, build.nested_defined])
    def test_sequences_may_be_64_deep_and_no_deeper(self, make: object) -> None:
        assert callable(make)
        walked(make(64))
        assert refused(make(65)) == "sequences are nested too deep"

    @pytest.mark.parametrize("depth", [2_000, 20_000])
    def test_a_deep_nest_is_refused_at_once(self, depth: int) -> None:
        data = build.nested(depth)
        assert cpu_s(lambda: refused(data)) < 0.05

    def test_too_many_elements_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        element = build.raw(0x00091001, b"LO", b"")
        walked(element * 100_000)
        assert refused(element * 100_001) == "too many elements"
        monkeypatch.setattr(walk_module, "MAX_ELEMENTS_IN_ALL", 1000)
        item = struct.pack("<HHI", 0xFFFE, 0xE000, 80) + element * 10
        assert refused(build.raw(0x00081140, b"SQ", item * 200)) == "too many elements"

    def test_too_many_fragments_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(walk_module, "MAX_FRAGMENTS", 10)
        walked(build.fragments(*[b""] * 8))
        refused(build.fragments(*[b""] * 10))


class TestSloppiness:
    def test_zeros_after_the_last_element_are_padding(self) -> None:
        data = build.ct_bytes()
        for count in (1, 7, 8, 1000):
            walked(data + bytes(count))
        refused(data + bytes(20) + b"\x01")
        refused(data + b"\x01")

    def test_odd_lengths_are_taken(self) -> None:
        walked(build.raw(0x00100020, b"LO", b"ODD") + build.raw(0x00100040, b"CS", b"M"))

    def test_an_implicit_item_in_an_explicit_data_set_is_taken(self) -> None:
        inner = struct.pack("<HHI", 0x0008, 0x1150, 4) + b"1.2\0"
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        walked(build.raw(0x00081140, b"SQ", item))
        walked(build.raw(0x00081140, b"UN", item + build.SEQUENCE_END, 0xFFFFFFFF))

    def test_a_sequence_hidden_in_un_is_looked_into(self) -> None:
        for depth, fine in ((10, True), (70, False)):
            inner = build.nested(depth)
            item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
            assert _is_refused(build.raw(0x00081140, b"UN", item), EXPLICIT) is not fine

    def test_private_bulk_in_un_is_not_looked_into(self) -> None:
        walked(build.raw(0x00091140, b"UN", build.ITEM + b"no sequence at all"))


class TestTwoReaders:
    """Where a second reader would see another instance, nothing is stored."""

    def test_commands_and_file_meta_do_not_belong_into_a_data_set(self) -> None:
        meta = build.raw(0x00020010, b"UI", b"1.2.840.10008.1.2.2\0")
        assert "does not belong" in refused(meta + build.ct_bytes())
        refused(build.raw(0x00000002, b"UI", b"1.2\0") + build.ct_bytes())

    def test_an_identity_given_twice_is_refused_unless_it_is_the_same(self) -> None:
        once = build.raw(0x00100020, b"LO", b"A ")
        walked(once + once)
        assert "twice" in refused(once + build.raw(0x00100020, b"LO", b"B "))

    def test_a_delimiter_at_the_top_is_refused(self) -> None:
        for delimiter in (build.ITEM_END, build.SEQUENCE_END, build.ITEM):
            assert refused(build.raw(0x00100020, b"LO", b"A ") + delimiter + build.ct_bytes())
