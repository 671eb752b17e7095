import zlib
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from pydicom.data import get_testdata_file
from sqlalchemy import select

from db.engine import Database
from db.tables import InstanceRow
from tests.triage.worklist.builders import add_instance, add_study
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited
from triage.preprocess.decoder import Decoded
from triage.settings import Settings
from triage.spool import Spool
from triage.worklist import images


def pixels(png: bytes) -> images.Grey:
    """Read a grey PNG of one IDAT chunk back."""
    columns, rows = (int.from_bytes(png[at : at + 4]) for at in (16, 20))
    assert png[24:29] == bytes([8, 0, 0, 0, 0])
    start = png.index(b"IDAT")
    size = int.from_bytes(png[start - 4 : start])
    lines = np.frombuffer(zlib.decompress(png[start + 4 : start + 4 + size]), np.uint8)
    image: images.Grey = lines.reshape(rows, columns + 1)[:, 1:]
    return image


def decoded(values: list[list[float]], *, inverted: bool = False, voi: bool = True) -> Decoded:
    return Decoded(np.array([values], np.float32), None, inverted, voi)


def stored(settings: Settings, session_rows: Database, name: str) -> int:
    """Put a test file of pydicom's into the spool's store, with its rows."""
    source = get_testdata_file(name)
    assert isinstance(source, str)
    spool = Spool(settings.spool)
    waiting = spool.write(Path(source).read_bytes())
    sha256, _ = spool.store(waiting)
    with session_rows.begin() as session:
        study = add_study(session)
        add_instance(session, study, sha256=sha256)
        return study.id


def test_a_picture_comes_back_from_its_png() -> None:
    image = np.arange(35, dtype=np.uint8).reshape(5, 7)
    assert np.array_equal(pixels(images.encode(image)), image)


def test_display_values_are_shown_as_the_header_asks() -> None:
    assert images.grey(decoded([[0.0, 0.5, 1.0]])).tolist() == [[0, 128, 255]]


def test_the_brightest_is_the_lowest_where_the_header_says_so() -> None:
    assert images.grey(decoded([[0.0, 1.0]], inverted=True)).tolist() == [[255, 0]]


def test_without_a_window_the_middle_ninety_nine_percent_are_shown() -> None:
    values = [[float(one) for one in range(1001)]]
    shown = images.grey(decoded(values, voi=False))
    assert shown[0, 0] == shown[0, 5] == 0
    assert shown[0, 995] == shown[0, 1000] == 255
    assert shown[0, 500] == 128


def test_a_flat_picture_is_dark_and_no_error() -> None:
    assert images.grey(decoded([[7.0, 7.0]], voi=False)).tolist() == [[0, 0]]


def test_a_large_picture_is_averaged_down_to_the_display() -> None:
    image = np.zeros((3000, 2000), np.uint8)
    image[::3] = 90
    small = images.shrink(image)
    assert small.shape == (1000, 666)
    assert np.all(small == 30)


def test_a_small_picture_stays_as_it_is() -> None:
    image = np.ones((10, 10), np.uint8)
    assert images.shrink(image) is image


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "rtdose.dcm"])
def test_a_study_has_a_preview_and_its_sight_is_audited(
    client: Client, rows: Database, settings: Settings, name: str
) -> None:
    number = stored(settings, rows, name)
    answer = client.get(f"/studies/{number}/preview.png")
    assert answer.headers["content-type"] == "image/png"
    assert pixels(answer.content).std() > 10
    (entry,) = audited(rows, "preview.seen")
    assert entry.event_id == "110103"


def test_a_preview_is_made_once(client: Client, rows: Database, settings: Settings) -> None:
    number = stored(settings, rows, "CT_small.dcm")
    first = client.get(f"/studies/{number}/preview.png").content
    with rows.reading() as session:
        sha256 = session.scalars(select(InstanceRow.sha256)).one()
    path = settings.spool / "store" / sha256[:2] / f"{sha256}.dcm"
    path.chmod(0o600)
    path.write_bytes(b"changed on disk")
    assert client.get(f"/studies/{number}/preview.png").content == first


def test_a_preview_goes_with_its_file(client: Client, rows: Database, settings: Settings) -> None:
    number = stored(settings, rows, "CT_small.dcm")
    assert client.get(f"/studies/{number}/preview.png").status_code == 200
    with rows.reading() as session:
        sha256 = session.scalars(select(InstanceRow.sha256)).one()
    (settings.spool / "store" / sha256[:2] / f"{sha256}.dcm").unlink()
    assert client.get(f"/studies/{number}/preview.png").status_code == 404


@pytest.mark.parametrize("content", [b"no dicom at all", None])
def test_a_study_without_a_readable_image_says_so_in_the_pictures_place(
    client: Client, rows: Database, settings: Settings, content: bytes | None
) -> None:
    with rows.begin() as session:
        study = add_study(session)
        row = add_instance(session, study)
    if content is not None:
        path = settings.spool / "store" / row.sha256[:2] / f"{row.sha256}.dcm"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    answer = client.get(f"/studies/{study.id}/preview.png")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "image/svg+xml"
    assert "No preview" in answer.text


def test_a_claim_of_too_many_pixels_gives_no_preview(
    app: FastAPI, client: Client, rows: Database, settings: Settings
) -> None:
    number = stored(settings, rows, "CT_small.dcm")
    tight = settings.site.decode.model_copy(update={"max_pixels": 100})
    app.state.previews.close()
    app.state.previews = images.Previews(tight)
    assert client.get(f"/studies/{number}/preview.png").status_code == 404
