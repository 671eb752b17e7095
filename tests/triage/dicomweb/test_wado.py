"""Retrievals on a real server: what leaves is what came, and pixels are decoded in the child."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from sqlalchemy import Select, select

from db.tables import AuditRow, InstanceRow
from tests.triage.dicomweb.service import Service, served
from tests.triage.files import bundled
from triage.spool import stored_path

FILES = ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_gdcm.dcm", "test-SR.dcm")
OCTETS = "application/octet-stream"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Iterator[Service]:
    with served(tmp_path_factory.mktemp("wado") / "state", migrated_file) as one:
        for name in FILES:
            one.spool.write(bundled(name).read_bytes())
        one.ingest()
        yield one


@pytest.fixture(scope="module")
def client(filled: Service) -> Iterator[DICOMwebClient]:
    with requests.Session() as session:
        session.headers.update(filled.bearer("reader"))
        yield DICOMwebClient(filled.url, session=session)


def uids(name: str) -> tuple[str, str, str]:
    header = pydicom.dcmread(bundled(name), stop_before_pixels=True)
    found = header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID
    return str(found[0]), str(found[1]), str(found[2])


def place(name: str) -> str:
    study, series, instance = uids(name)
    return f"/studies/{study}/series/{series}/instances/{instance}"


@pytest.mark.parametrize("name", FILES)
def test_the_client_gets_the_instance_that_came(client: DICOMwebClient, name: str) -> None:
    syntaxes = (("application/dicom", "*"),)
    got = client.retrieve_instance(*uids(name), media_types=syntaxes)
    assert got == pydicom.dcmread(bundled(name))
    assert got.file_meta.TransferSyntaxUID == (
        pydicom.dcmread(bundled(name)).file_meta.TransferSyntaxUID
    )


def test_series_and_studies_come_whole(client: DICOMwebClient) -> None:
    study, series, instance = uids("CT_small.dcm")
    [from_study] = client.retrieve_study(study)
    [from_series] = client.retrieve_series(study, series)
    assert from_study.SOPInstanceUID == from_series.SOPInstanceUID == instance


@pytest.mark.parametrize("name", FILES)
def test_metadata_are_the_header_and_addresses_of_what_is_large(
    client: DICOMwebClient, name: str
) -> None:
    got = client.retrieve_instance_metadata(*uids(name))
    whole = pydicom.dcmread(bundled(name))
    assert got["00080018"]["Value"] == [whole.SOPInstanceUID]
    assert got["00083002"]["Value"] == [whole.file_meta.TransferSyntaxUID]
    assert not any(tag.startswith("0002") for tag in got)
    if "PixelData" in whole:
        assert got["7FE00010"]["BulkDataURI"].endswith("/bulkdata/7FE00010")
        assert "InlineBinary" not in got["7FE00010"]
    said = pydicom.Dataset.from_json(got, bulk_data_uri_handler=lambda _uri: b"")
    assert said.StudyInstanceUID == whole.StudyInstanceUID
    [of_study] = client.retrieve_study_metadata(uids(name)[0])
    assert of_study == got


@pytest.mark.parametrize("name", FILES[:3])
def test_frames_are_the_stored_values(client: DICOMwebClient, name: str) -> None:
    whole = pydicom.dcmread(bundled(name))
    media = ((OCTETS, "1.2.840.10008.1.2.1"),)
    [frame] = client.retrieve_instance_frames(*uids(name), [1], media_types=media)
    found = np.frombuffer(frame, whole.pixel_array.dtype).reshape(whole.pixel_array.shape)
    assert np.array_equal(found, whole.pixel_array)


@pytest.mark.parametrize(
    ("name", "media", "starts"),
    [
        ("JPEG2000.dcm", "image/jp2", b"\xff\x4f\xff\x51"),
        ("SC_rgb_jpeg_gdcm.dcm", "image/jpeg", b"\xff\xd8"),
        ("MR_small_RLE.dcm", "image/dicom-rle", b"\x02\0\0\0"),
    ],
)
def test_compressed_frames_come_as_they_are_stored(
    filled: Service, name: str, media: str, starts: bytes
) -> None:
    accept = f'multipart/related; type="{media}"'
    answer = filled.get(f"{place(name)}/frames/1", Accept=accept)
    assert answer.status_code == 200
    head, _, content = answer.content.partition(b"\r\n\r\n")
    assert f"Content-Type: {media}; transfer-syntax=".encode() in head
    assert content.startswith(starts)
    bare = filled.get(f"{place(name)}/frames/1", Accept=media)
    assert bare.headers["content-type"].startswith(media)
    assert bare.content.startswith(starts)


def test_bulk_data_are_found_by_their_addresses(client: DICOMwebClient, filled: Service) -> None:
    got = client.retrieve_instance_metadata(*uids("CT_small.dcm"))
    [content] = client.retrieve_bulkdata(got["7FE00010"]["BulkDataURI"])
    assert content == pydicom.dcmread(bundled("CT_small.dcm")).PixelData
    for nothing in ("00100010", "zz", "00080018/1", "7FE00010/0/00100010", "99999999"):
        assert filled.get(f"{place('CT_small.dcm')}/bulkdata/{nothing}").status_code == 404


def test_pictures_are_what_the_window_and_viewport_say(filled: Service) -> None:
    path = f"{place('CT_small.dcm')}/rendered"
    plain = filled.get(path, Accept="image/jpeg")
    assert plain.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(plain.content)).size == (128, 128)
    narrow = filled.get(f"{path}?window=-500,100,linear&viewport=64,32", Accept="image/png")
    picture = Image.open(io.BytesIO(narrow.content))
    assert picture.size == (32, 32)
    whole = pydicom.dcmread(bundled("CT_small.dcm"))
    hu = whole.pixel_array * whole.RescaleSlope + whole.RescaleIntercept
    exact = filled.get(f"{path}?window=40,400,linear&accept=image/png")
    shown = np.asarray(Image.open(io.BytesIO(exact.content)), dtype=float)
    expected = np.clip((hu - 39.5) / 399 + 0.5, 0, 1) * 255
    assert np.abs(shown - expected).max() <= 1
    part = filled.get(f"{path}?viewport=16,16,10,20,16,16&window=40,400,linear&accept=image/png")
    cut = np.asarray(Image.open(io.BytesIO(part.content)), dtype=float)
    assert np.abs(cut - expected[20:36, 10:26]).max() <= 1
    by_frame = filled.get(f"{place('CT_small.dcm')}/frames/1/rendered?accept=image/png")
    assert by_frame.status_code == 200


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("/rendered?window=x", "image/png", 400),
        ("/rendered?window=1,0", "image/png", 400),
        ("/rendered?window=1,2,cubic", "image/png", 400),
        ("/rendered?viewport=0,5", "image/png", 400),
        ("/rendered?viewport=99999,5", "image/png", 400),
        ("/rendered?quality=0", "image/jpeg", 400),
        ("/rendered", "image/gif", 406),
        ("/frames/0", "*/*", 404),
        ("/frames/2", "*/*", 404),
        ("/frames/2/rendered", "*/*", 404),
        ("/frames/x", "*/*", 400),
        ("/frames/1", "text/html", 406),
        ("", "image/png", 406),
        ("", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.3', 406),
        ("/metadata", "text/html", 406),
    ],
)  # fmt: skip
def test_a_wrong_wish_is_told_so(filled: Service, path: str, accept: str, status: int) -> None:
    answer = filled.get(f"{place('CT_small.dcm')}{path}", Accept=accept)
    assert answer.status_code == status
    assert set(answer.json()) == {"detail"}


def test_colour_and_reports_have_no_grey_picture(filled: Service) -> None:
    assert filled.get(f"{place('SC_rgb_jpeg_gdcm.dcm')}/rendered").status_code == 406
    assert filled.get(f"{place('test-SR.dcm')}/rendered").status_code in {404, 406}
    assert filled.get(f"{place('test-SR.dcm')}/frames/1").status_code == 404


def test_metadata_are_xml_for_who_asks(filled: Service) -> None:
    accept = 'multipart/related; type="application/dicom+xml"'
    answer = filled.get(f"{place('CT_small.dcm')}/metadata", Accept=accept)
    assert b"<NativeDicomModel" in answer.content
    assert b'keyword="SOPInstanceUID"' in answer.content


def test_a_damaged_file_never_leaves_and_one_that_is_gone_is_410(
    tmp_path: Path, migrated_file: Path
) -> None:
    with served(tmp_path / "state", migrated_file) as one:
        one.spool.write(bundled("CT_small.dcm").read_bytes())
        one.ingest()
        [row] = one.rows()
        path = stored_path(one.settings.spool, row.sha256)
        content = bytearray(path.read_bytes())
        content[-10] ^= 1
        path.unlink()
        path.write_bytes(content)
        answer = one.get(f"{place('CT_small.dcm')}/rendered")
        assert (answer.status_code, "corrupt" in answer.text) == (500, True)
        import httpx

        with pytest.raises(httpx.RemoteProtocolError):
            one.get(place("CT_small.dcm"))
        path.unlink()
        assert one.get(place("CT_small.dcm")).status_code == 410


def test_nobody_gets_anything_and_every_access_is_noted(filled: Service) -> None:
    for path in ("", "/metadata", "/rendered", "/frames/1", "/bulkdata/7FE00010"):
        whole = f"{place('CT_small.dcm')}{path}"
        assert filled.get(whole, Authorization="").status_code == 401
        assert filled.get(whole, **filled.bearer("sender")).status_code == 403
    with filled.database.reading() as session:
        before = len(session.scalars(_accesses()).all())
    for _ in range(3):
        filled.get(f"{place('CT_small.dcm')}/metadata")
    for _ in range(3):
        filled.get(f"{place('MR_small_RLE.dcm')}/frames/1")
    with filled.database.reading() as session:
        rows = session.scalars(_accesses()).all()
        study = session.scalar(select(InstanceRow.sop_instance_uid).limit(1))
    assert study
    assert 4 <= len(rows) - before + 1 <= 5
    assert {row.object_id for row in rows} <= {uids(name)[0] for name in FILES}
    assert filled.get(place("CT_small.dcm")).headers["cache-control"] == "no-store"
    assert filled.get("/studies/1.2.3.4").status_code == 404


def _accesses() -> Select[AuditRow]:
    return select(AuditRow).where(AuditRow.event_type == "dicomweb.retrieve")
