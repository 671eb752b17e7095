"""Each file of a collection comes to what its table says: malformed ones, valid ones, made ones."""

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import yaml
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGLSLossless, RLELossless
from sqlalchemy import select

from db.tables import InstanceRow, StudyRow
from tests.builders import dx
from tests.conftest import BOTH
from tests.path.fates import Road, road
from tests.servers import Postgres
from tests.triage.receive import build
from tests.triage.receive.test_hostile import (
    BAD,
    GOOD,
    NOT_FOR_US,
    REJECTED,
    File,
    files,
    read,
    send,
)
from triage.content import _content
from triage.spool import stored_path

TABLE = Path(__file__).with_name("dicom_bad.yaml")
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
RLE = str(RLELossless)
RETIRED = "transfer-syntaxes/ct-ge-one-slice-all-syntaxes/CTImage.dcm_JPEGProcess"
NOT_TAKEN = {
    **NOT_FOR_US,
    f"{RETIRED}6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm": REJECTED,
    f"{RETIRED}10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm": REJECTED,
}
"""Valid files that are not taken, and the answer; the last two come in retired syntaxes."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Iterator[Road]:
    with road(tmp_path_factory.mktemp("contents"), migrated_file) as one:
        yield one


@pytest.fixture(scope="module")
def postgres_site(
    tmp_path_factory: pytest.TempPathFactory, migrated_file: Path, postgres_server: Postgres
) -> Iterator[Road]:
    with road(tmp_path_factory.mktemp("on_a_server"), migrated_file, postgres_server) as one:
        yield one


def ct(data: bytes, syntax: str = build.EXPLICIT, sop: str = build.SOP) -> File:
    return File(build.CT, sop.encode(), syntax, data)


def radiograph(syntax: str, pixels: bytes, **changes: object) -> File:
    """Give a chest radiograph whose pixel data is whatever is given."""
    dataset = dx(study="contents")
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = encapsulate([pixels])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return as_sent(dataset)


def as_sent(dataset: pydicom.FileDataset) -> File:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    meta = dataset.file_meta
    return File(
        str(dataset.SOPClassUID), str(dataset.SOPInstanceUID).encode(),
        str(meta.TransferSyntaxUID), content[_content(content)[1] :],
    )  # fmt: skip


def rewritten(old: bytes, new: bytes) -> File:
    """Give a chest radiograph, which a route takes, with some bytes changed."""
    file = as_sent(dx(study="rewritten"))
    assert old in file.data
    return file._replace(data=file.data.replace(old, new))


WHOLE = build.ct_bytes()
UNEVEN = bytes(range(256)) * 2
"""Pixels that could not be those of another image by chance."""
PROGRAM = b"MZ\x90\0" + bytes(124) + b"DICM"
MADE = {
    "B1 cut in its pixels": (ct(WHOLE[:-3]), "refused 0xC000"),
    "B1 cut in a header": (ct(WHOLE[:-517]), "refused 0xC000"),
    "B2 pixels too short": (ct(build.ct_bytes(PixelData=bytes(510))), "refused 0xC000"),
    "B2 pixels too long": (ct(build.ct_bytes(PixelData=b"\1" * 1030)), "refused 0xC000"),
    "B2 nothing to decode": (radiograph(str(JPEGLSLossless), b"\xff\xd8 no"), "held pixel-data"),
    "B3 another instance": (ct(WHOLE, sop="1.2.3"), "refused 0xA900"),
    "B4 a path for a UID": (ct(WHOLE, sop="../../x"), "refused 0x0117"),
    "B5 no study": (ct(build.ct_bytes(StudyInstanceUID=None)), "refused 0xC000"),
    "B5 no patient": (ct(build.ct_bytes(PatientID=None)), "held no-patient"),
    "B9 sequences 2,000 deep": (ct(build.identity() + build.nested(2000)), "refused 0xC000"),
    "B10 a bomb": (
        ct(build.deflate(WHOLE + bytes(2**26)), syntax=build.DEFLATED),
        "refused 0xC000",
    ),
    "B11 a claim of four billion pixels": (
        radiograph(RLE, b"\1" + bytes(67), Rows=65535, Columns=65535),
        "failed resource-limit",
    ),
    "B12 a text of two mebibytes": (
        ct(build.identity() + build.raw(0x00324000, b"UT", b"x" * 2**21)),
        "refused 0xC000",
    ),
    "B13 a spacing that is none": (
        ct(build.ct_bytes(PixelSpacing=["-1", "0"])),
        "not analysed no-route",
    ),
    "B13 a slope that is no number": (
        rewritten(build.raw(0x00281053, b"DS", b"1.0 "), build.raw(0x00281053, b"DS", b"nan ")),
        "not analysed header",
    ),
    "B13 no bits at all": (
        rewritten(build.raw(0x00280101, b"US", b"\x0c\0"), build.raw(0x00280101, b"US", b"\0\0")),
        "held pixel-data",
    ),
    "B14 another syntax": (ct(build.ct_bytes(build.IMPLICIT)), "refused 0xC000"),
    "B15 a program before it": (ct(PROGRAM + WHOLE), "refused 0xC000"),
    "B16 a character set that is none": (
        ct(build.ct_bytes(SpecificCharacterSet="ISO_IR 192").replace(b"ISO_IR 192", b"KLINGON 99")),
        "not analysed no-route",
    ),
    "B20 nothing": (ct(b""), "refused 0xC000"),
    "B20 no pixels": (ct(build.ct_bytes(PixelData=None)), "not analysed no-image"),
}
AGAIN: dict[str, tuple[dict[str, Any], str]] = {
    "B6 the same": ({}, "not analysed no-route"),
    "B7 other pixels": ({"PixelData": b"\1" * 512}, "held content-conflict"),
    "B8 another name": ({"PatientName": "CORRECTED^NAME"}, "not analysed no-route"),
    "C5 another patient": (
        {"SOPInstanceUID": "1.2.826.0.1.3680043.8.498.2", "PatientID": "OTHER"},
        "held identity-conflict",
    ),
}
"""What differs in a second file of the study, and what the study comes to."""
BROUGHT = {
    "CT_small.dcm": "not analysed no-route",
    "ExplVR_BigEnd.dcm": "held no-patient",
    "JPEG2000.dcm": "not analysed no-route",
    "MR_small.dcm": "not analysed no-route",
    "SC_rgb_rle_2frame.dcm": "not analysed no-route",
    "examples_ybr_color.dcm": "not analysed no-route",
    "image_dfl.dcm": "held no-patient",
    "liver_1frame.dcm": "not analysed no-image",
    "reportsi.dcm": "held no-patient",
    "rtdose.dcm": "not analysed no-image",
    "rtplan.dcm": "not analysed no-image",
    "test-SR.dcm": "held no-patient",
}


@pytest.mark.parametrize("name", MADE)
def test_a_made_file_comes_to_what_is_expected(site: Road, name: str) -> None:
    file, expected = MADE[name]
    assert site.fate(file) == expected


@pytest.mark.parametrize("name", AGAIN)
def test_a_second_file_of_one_instance_comes_to_what_is_expected(site: Road, name: str) -> None:
    changes, expected = AGAIN[name]
    uid = str(changes.get("SOPInstanceUID", build.SOP))
    second = build.ct_bytes(**{"PixelData": UNEVEN, **changes})
    assert site.fate(ct(build.ct_bytes(PixelData=UNEVEN)), ct(second, sop=uid)) == expected


def test_text_that_lies_is_kept_as_it_came_and_shown_without_what_turns_it_round(
    site: Road,
) -> None:
    name = "Can\u202eYRAN\u0007^\u2066".encode() + b"\xff\xfe"
    utf8 = build.raw(0x00080005, b"CS", b"ISO_IR 192")
    patient = build.raw(0x00100010, b"PN", name) + build.raw(0x00100020, b"LO", b"P1")
    file = ct(utf8 + build.identity() + patient)
    site.forget()
    assert send(site.running.port, file) == 0
    site.ingest()
    with site.database.reading() as session:
        [study], [row] = session.scalars(select(StudyRow)), session.scalars(select(InstanceRow))
    assert study.patient_name.startswith("CanYRAN")
    assert study.patient_name.isprintable()
    assert "\u202e" not in study.patient_name
    assert content_of(site, row) == file.data


@pytest.mark.parametrize("name", BROUGHT)
def test_a_file_of_pydicoms_comes_to_what_is_expected(site: Road, name: str) -> None:
    assert site.fate(read(BUNDLED / name)) == BROUGHT[name]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not BAD.is_dir(), reason="no collection of malformed files")
@pytest.mark.parametrize("rows", BOTH)
def test_every_malformed_file_comes_to_what_the_table_says(
    request: pytest.FixtureRequest, rows: str
) -> None:
    site: Road = request.getfixturevalue("site" if rows == "sqlite" else "postgres_site")
    expected = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    found = {str(path.relative_to(BAD)): site.fate(read(path)) for path in files(BAD)}
    assert {name: fate for name, fate in found.items() if expected.get(name) != fate} == {}
    assert set(expected) == set(found)


def test_pydicoms_files_stand_in_the_index_with_the_bytes_that_were_sent(site: Road) -> None:
    assert not_taken(site, [BUNDLED / name for name in BROUGHT]) == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not GOOD.is_dir(), reason="no collection of valid files")
def test_every_valid_file_stands_in_the_index_with_the_bytes_that_were_sent(site: Road) -> None:
    paths = [path for path in files(GOOD) if path.name != "DICOMDIR"]
    assert len(paths) > 350
    refused = not_taken(site, paths)
    assert {str(path.relative_to(GOOD)): answer for path, answer in refused.items()} == NOT_TAKEN


def not_taken(site: Road, paths: list[Path]) -> dict[Path, int]:
    """Send files; what is acknowledged must be indexed and kept byte by byte. Gives the rest."""
    site.forget()
    sent = {path: read(path) for path in paths}
    answers = {path: send(site.running.port, file) for path, file in sent.items()}
    site.ingest()
    with site.database.reading() as session:
        rows = session.scalars(select(InstanceRow)).all()
    kept = {
        (row.sop_instance_uid, row.transfer_syntax_uid, content_of(site, row)): row.copies
        for row in rows
    }
    taken = [sent[path] for path, answer in answers.items() if answer == 0]
    assert kept == Counter((file.sop_instance.decode(), file.syntax, file.data) for file in taken)
    return {path: answer for path, answer in answers.items() if answer != 0}


def content_of(site: Road, row: InstanceRow) -> bytes:
    content = stored_path(site.settings.spool, row.sha256).read_bytes()
    return content[_content(content)[1] :]
