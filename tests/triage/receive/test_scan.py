"""The scanner refuses what is broken, with the right status, and takes what is merely sloppy."""

import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.filereader import dcmread

from tests.timing import cpu_s
from tests.triage.receive import build
from triage.errors import Refused
from triage.receive.scan import check_uid, inflate, scan

BUNDLED = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "JPEG2000.dcm", "ExplVR_BigEnd.dcm")


def refusal(data: bytes, syntax: str = build.EXPLICIT) -> Refused:
    with pytest.raises(Refused) as why:
        scan(data, syntax)
    return why.value


def bundled(name: str) -> tuple[bytes, str]:
    """Give the data set's bytes and transfer syntax of one of pydicom's own files."""
    path = get_testdata_file(name)
    assert isinstance(path, str)
    meta = dcmread(path, stop_before_pixels=True).file_meta
    content = Path(path).read_bytes()
    start = 144 + meta.FileMetaInformationGroupLength
    return content[start:], str(meta.TransferSyntaxUID)


class TestIdentity:
    @pytest.mark.parametrize("syntax", [build.EXPLICIT, build.IMPLICIT, build.BIG, build.DEFLATED])
    def test_it_reads_the_uids_in_every_native_syntax(self, syntax: str) -> None:
        scanned = scan(build.ct_bytes(syntax), syntax)
        assert scanned.sop_class_uid == build.CT
        assert scanned.sop_instance_uid == build.SOP
        assert scanned.study_instance_uid == "1.2.3.4"
        assert scanned.series_instance_uid == "1.2.3.4.5"
        assert scanned.has_patient_id
        assert scanned.has_pixel_data

    @pytest.mark.parametrize("name", BUNDLED)
    def test_it_agrees_with_pydicom_on_pydicoms_files(self, name: str) -> None:
        data, syntax = bundled(name)
        scanned, dataset = scan(data, syntax), dcmread(str(get_testdata_file(name)))
        assert scanned.sop_instance_uid == dataset.SOPInstanceUID
        assert scanned.study_instance_uid == dataset.StudyInstanceUID
        assert scanned.has_pixel_data == ("PixelData" in dataset)

    @pytest.mark.parametrize(
        "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
    )
    def test_a_missing_or_empty_uid_is_not_understood(self, keyword: str) -> None:
        for value in (None, ""):
            without: dict[str, Any] = {keyword: value}
            assert refusal(build.encode(build.ct(**without))).status == 0xC000

    def test_a_missing_patient_id_is_taken(self) -> None:
        assert not scan(build.ct_bytes(PatientID=None), build.EXPLICIT).has_patient_id
        assert not scan(build.ct_bytes(PatientID=" "), build.EXPLICIT).has_patient_id

    def test_an_instance_without_pixels_is_taken(self) -> None:
        assert not scan(build.identity(), build.EXPLICIT).has_pixel_data

    def test_an_empty_data_set_is_not_understood(self) -> None:
        assert refusal(b"").status == 0xC000


class TestUids:
    @pytest.mark.parametrize(
        "uid",
        [
            b"../../../../tmp/x", b"/etc/passwd", b"..\\..\\x", b"1.2\0.3", b"1" + b".1" * 32,
            b"1.2.a", b"1.02.a", b"1..2", b".1", b"1.", b"1.2\n", b"1.2\\1.3", b" 1.2", b"-1.2",
        ],
    )  # fmt: skip
    def test_what_is_no_uid_is_an_invalid_instance(self, uid: bytes) -> None:
        assert refusal(build.identity(sop=uid)).status == 0x0117
        assert refusal(build.identity(study=uid)).status == 0x0117

    def test_the_reason_never_quotes_the_value(self) -> None:
        assert "CANARY" not in str(refusal(build.identity(sop=b"CANARY")))

    @pytest.mark.parametrize(
        "uid", [b"1.2", b"1.2\0", b"1.2 ", b"0.0", b"1.02.003", b"1" + b".1" * 31]
    )
    def test_uids_with_padding_or_leading_zeros_are_taken(self, uid: bytes) -> None:
        assert check_uid(uid, "UID") == uid.rstrip(b"\0 ").decode()

    @given(st.binary(max_size=80))
    def test_whatever_passes_is_digits_and_dots(self, value: bytes) -> None:
        try:
            text = check_uid(value, "UID")
        except Refused:
            return
        assert set(text) <= set("0123456789.")
        assert 1 <= len(text) <= 64


class TestDeflation:
    def test_a_bomb_is_refused_before_it_is_big(self) -> None:
        bomb = build.deflate(bytes(64 * 2**20))
        assert len(bomb) < 70_000
        assert refusal(bomb, build.DEFLATED).status == 0xC000
        assert cpu_s(lambda: refusal(bomb, build.DEFLATED)) < 1.0

    def test_an_empty_looking_image_is_taken(self) -> None:
        data = build.ct_bytes(build.DEFLATED, rows=512, columns=512)
        assert len(data) < 2000
        scan(data, build.DEFLATED)

    @pytest.mark.parametrize("cut", [1, 20, 100])
    def test_a_cut_stream_is_refused(self, cut: int) -> None:
        assert refusal(build.ct_bytes(build.DEFLATED)[:-cut], build.DEFLATED).status == 0xC000

    def test_noise_is_refused_and_a_checksum_after_the_stream_is_not(self) -> None:
        assert refusal(b"\xff" * 100, build.DEFLATED).status == 0xC000
        data = build.deflate(b"x" * 100)
        assert inflate(data + bytes(8)) == b"x" * 100
        with pytest.raises(Refused):
            inflate(data + bytes(100))


class TestEncapsulation:
    def test_fragments_are_taken_in_a_compressed_syntax_only(self) -> None:
        data = build.identity() + build.fragments(b"\xff\xd8\xff\xd9")
        assert scan(data, build.JPEG).has_pixel_data
        assert refusal(data, build.EXPLICIT).status == 0xC000


class TestSpeed:
    def test_a_ct_takes_about_a_millisecond_however_many_pixels_it_has(self) -> None:
        data = build.ct_bytes(rows=512, columns=512)
        assert cpu_s(lambda: scan(data, build.EXPLICIT), times=50) < 0.002

    def test_a_gigabyte_of_pixels_costs_no_more(self) -> None:
        side = 16384
        data = build.ct_bytes(rows=4, columns=4, Rows=side, Columns=side, PixelData=None)
        # The pixels are never looked at: untouched pages of a fresh buffer do.
        pixels = build.raw(0x7FE00010, b"OW", b"", side * side * 2)
        whole = bytearray(len(data) + len(pixels) + side * side * 2)
        whole[: len(data) + len(pixels)] = data + pixels
        assert scan(whole, build.EXPLICIT).has_pixel_data
        assert cpu_s(lambda: scan(whole, build.EXPLICIT)) < 0.05


FUZZ = settings(
    max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SYNTAXES = st.sampled_from([build.EXPLICIT, build.IMPLICIT, build.BIG, build.JPEG])


class TestFuzz:
    """Only Refused escapes, and soon."""

    @FUZZ
    @given(st.binary(max_size=4000), SYNTAXES)
    def test_noise(self, data: bytes, syntax: str) -> None:
        assert refusal(data, syntax).status in (0xC000, 0x0117)

    @FUZZ
    @given(
        st.sampled_from(BUNDLED),
        st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    )
    def test_changed_bytes(self, name: str, changes: list[tuple[float, int]]) -> None:
        content, syntax = bundled(name)
        data = bytearray(content[:4000])
        for place, value in changes:
            data[int(place * (len(data) - 1))] = value
        _judge(bytes(data), syntax)

    @FUZZ
    @given(st.sampled_from(BUNDLED), st.floats(0, 1), st.binary(max_size=64))
    def test_inserted_bytes(self, name: str, place: float, more: bytes) -> None:
        data, syntax = bundled(name)
        at = int(place * len(data))
        _judge(data[:at] + more + data[at:], syntax)

    @FUZZ
    @given(st.binary(max_size=300), st.integers(1, 9))
    def test_deflated_noise(self, data: bytes, level: int) -> None:
        engine = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        _judge(engine.compress(data) + engine.flush(), build.DEFLATED)


def _judge(data: bytes, syntax: str) -> None:
    assert build.outcome(data, syntax) in (0, 0xC000, 0x0117)
