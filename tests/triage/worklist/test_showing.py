"""What the viewer is sent: exact values, areas' means, colours, reasons; to whom, and noted."""

import gzip
import json
from typing import Any

import httpx
import numpy as np
import pytest
from pydicom import Dataset
from sqlalchemy import select

from db.engine import Database
from db.tables import InstanceRow, StudyRow, UserRow
from tests.triage.files import bundled, image
from tests.triage.worklist import imaged
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited
from triage.ingest import ingest_all
from triage.settings import Settings
from triage.spool import Spool
from triage.worklist import frames


def series_of(client: Client, study: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/studies/{study}/view/series").json()["series"]
    return found


def frame_of(
    client: Client, study: int, sop: str, number: int = 1, ask: str = ""
) -> httpx.Response:
    return client.get(f"/studies/{study}/view/frames/{sop}/{number}{ask}")


def facts_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    facts: dict[str, Any] = json.loads(answer.headers["x-frame"])
    return facts


def values(answer: httpx.Response) -> Any:  # noqa: ANN401 - an array
    facts = facts_of(answer)
    stored = np.frombuffer(answer.content, "<i2").reshape(facts["rows"], facts["columns"])
    return stored * facts["slope"] + facts["intercept"]


def sha256_of(rows: Database, study: int) -> str:
    with rows.reading() as session:
        found = select(InstanceRow.sha256).where(InstanceRow.study_id == study)
        return session.scalars(found).first() or ""


class TestSeries:
    def test_slices_lie_in_the_order_of_the_body_whatever_order_they_came_in(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        built = imaged.ct(5)
        study = imaged.receive(settings, rows, [built[n] for n in (3, 0, 4, 2, 1)])
        [found] = series_of(client, study)
        assert [one["sop"] for one in found["frames"]] == [one.SOPInstanceUID for one in built]
        assert [one["at_mm"] for one in found["frames"]] == [0.0, -2.5, -5.0, -7.5, -10.0]
        [look] = found["looks"]
        assert look["spacing_mm"] == [0.5, 0.5]
        assert look["spacing_kind"] == "patient"
        assert look["windows"] == [{"centre": 40, "width": 400, "function": "LINEAR", "name": ""}]
        (entry,) = audited(rows, "viewer.series")
        assert entry.event_id == "110103"

    def test_numbers_that_run_against_the_places_of_others_turn_the_stack(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        built = imaged.ct(4)
        for at, one in enumerate(built):
            one.InstanceNumber = 4 - at
        study = imaged.receive(settings, rows, built)
        [found] = series_of(client, study)
        assert [one["at_mm"] for one in found["frames"]] == [-7.5, -5.0, -2.5, 0.0]

    def test_slices_in_one_place_go_by_their_numbers(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        built = imaged.ct(3, SeriesDescription="PERFUSION")
        for one in built:
            one.ImagePositionPatient = [0.0, 0.0, 7.0]
        study = imaged.receive(settings, rows, reversed(built))
        [found] = series_of(client, study)
        assert [one["sop"] for one in found["frames"]] == [one.SOPInstanceUID for one in built]

    @pytest.mark.parametrize(
        ("given", "kind"),
        [
            ({"ImagerPixelSpacing": [0.15, 0.15]}, "detector"),
            ({"ImagerPixelSpacing": [0.15, 0.15], "PixelSpacing": [0.15, 0.15]}, "detector"),
            ({"PixelSpacing": [0.15, 0.15]}, "detector"),
            ({"ImagerPixelSpacing": [0.15, 0.15], "PixelSpacing": [0.1, 0.1]}, "calibrated"),
            ({"PixelSpacing": [0.1, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"}, "calibrated"),
            ({"PixelSpacing": None}, ""),
            ({"PixelSpacing": [0, 0]}, ""),
        ],
    )
    def test_a_radiographs_spacing_is_the_detectors_unless_it_was_calibrated(
        self, client: Client, rows: Database, settings: Settings, given: dict[str, Any], kind: str
    ) -> None:
        elements = {"PixelSpacing": None, "StudyInstanceUID": imaged.uid()} | given
        built = image("DX", np.ones((8, 8), np.uint16), SOPInstanceUID=imaged.uid(), **elements)
        [found] = series_of(client, imaged.receive(settings, rows, [built]))
        [look] = found["looks"]
        assert look["spacing_kind"] == kind
        assert bool(look["spacing_mm"]) == bool(kind)

    def test_an_objects_without_pixels_is_listed_and_says_so(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        spool = Spool(settings.spool)
        spool.write(bundled("test-SR.dcm").read_bytes())
        ingest_all(rows, spool, settings.site.completeness)
        with rows.reading() as session:
            study = session.scalars(select(StudyRow.id)).one()
        [found] = series_of(client, study)
        assert [one["reason"] for one in found["frames"]] == ["It holds no pixels."]


class TestFrames:
    def test_a_slice_comes_in_real_units_exactly(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        [built] = imaged.ct(1, RescaleSlope=2, RescaleIntercept=-24)
        study = imaged.receive(settings, rows, [built])
        answer = frame_of(client, study, built.SOPInstanceUID)
        assert answer.headers["content-encoding"] == "gzip"
        assert np.array_equal(values(answer), imaged.ramp(0) * 2.0 - 24)
        facts = facts_of(answer)
        assert facts["full"] == [imaged.SIDE, imaged.SIDE]
        assert not facts["reduced"]

    def test_who_takes_no_gzip_gets_the_same_values(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        [built] = imaged.ct(1)
        study = imaged.receive(settings, rows, [built])
        path = f"/studies/{study}/view/frames/{built.SOPInstanceUID}/1"
        answer = client.get(path, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in answer.headers
        assert np.array_equal(values(answer), imaged.ramp(0))

    def test_a_large_projection_comes_as_the_means_of_areas(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
        built = image("DX", pixels, SOPInstanceUID=imaged.uid(), StudyInstanceUID=imaged.uid())
        study = imaged.receive(settings, rows, [built])
        answer = frame_of(client, study, built.SOPInstanceUID, ask="?width=16")
        assert facts_of(answer)["reduced"]
        means = pixels.reshape(16, 4, 16, 4).mean(axis=(1, 3))
        assert np.abs(values(answer) - means).max() <= 0.5
        whole = frame_of(client, study, built.SOPInstanceUID)
        assert np.array_equal(values(whole), pixels)

    def test_frames_of_a_colour_cine_come_one_by_one(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        built = imaged.colour(3)
        study = imaged.receive(settings, rows, [built])
        [found] = series_of(client, study)
        assert len(found["frames"]) == 3
        assert found["frame_ms"] == 40.0
        answer = frame_of(client, study, built.SOPInstanceUID, 3)
        assert facts_of(answer)["samples"] == 3
        shown = np.frombuffer(answer.content, np.uint8).reshape(24, 32, 3)
        assert (shown == (20, 20, 200)).all()

    def test_values_out_of_a_voi_table_come_for_display(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        table = Dataset()
        pixels = np.arange(256, dtype=np.uint16).reshape(16, 16)
        built = image("DX", pixels, SOPInstanceUID=imaged.uid(), StudyInstanceUID=imaged.uid())
        built.add_new("VOILUTSequence", "SQ", [table])
        table.add_new("LUTDescriptor", "US", [256, 0, 8])
        table.add_new("LUTData", "US", list(range(255, -1, -1)))
        study = imaged.receive(settings, rows, [built])
        [found] = series_of(client, study)
        assert found["looks"][0]["table"]
        answer = frame_of(client, study, built.SOPInstanceUID, ask="?voi=true")
        assert facts_of(answer)["voi"]
        assert np.abs(values(answer) - (255 - pixels) / 255).max() < 1e-4

    def test_values_that_span_more_than_16_bits_come_in_even_steps(self) -> None:
        wide = np.array([[0.0, 1e6]], np.float32)
        stored, slope, intercept = frames.packed(wide, is_whole=True)
        assert np.abs(stored * slope + intercept - wide).max() <= slope
        unsigned = np.array([[0.0, 65535.0]], np.float32)
        stored, slope, intercept = frames.packed(unsigned, is_whole=True)
        assert (stored * slope + intercept == unsigned).all()
        assert slope == 1.0

    def test_leafing_is_noted_once_a_minute_for_a_study(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        built = imaged.ct(3)
        study = imaged.receive(settings, rows, built)
        for one in built:
            frame_of(client, study, one.SOPInstanceUID)
        (entry,) = audited(rows, "viewer.frames")
        assert entry.object_id == built[0].StudyInstanceUID


class TestReasons:
    def test_an_undecodable_frame_says_why(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        [built] = imaged.ct(1)
        built.PixelData = built.PixelData[:100]
        study = imaged.receive(settings, rows, [built])
        answer = frame_of(client, study, built.SOPInstanceUID)
        assert answer.status_code == 422
        assert answer.json()["code"] == "pixel-data"
        assert "could not be decoded" in answer.json()["detail"]

    def test_a_study_that_was_let_go_says_so_even_after_it_was_seen(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        [built] = imaged.ct(1)
        study = imaged.receive(settings, rows, [built])
        assert frame_of(client, study, built.SOPInstanceUID).status_code == 200
        imaged.stored(settings, sha256_of(rows, study)).unlink()
        answer = frame_of(client, study, built.SOPInstanceUID)
        assert answer.status_code == 410
        assert answer.json()["detail"] == "The file is not kept here any more."
        [found] = series_of(client, study)
        assert found["frames"][0]["reason"] == "The file is not kept here any more."

    def test_a_file_that_changed_on_disk_is_not_shown(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        [built] = imaged.ct(1)
        study = imaged.receive(settings, rows, [built])
        path = imaged.stored(settings, sha256_of(rows, study))
        content = bytearray(path.read_bytes())
        content[-2] ^= 1
        path.chmod(0o600)
        path.write_bytes(content)
        answer = frame_of(client, study, built.SOPInstanceUID)
        assert answer.status_code == 422
        assert answer.json()["code"] == "corrupt"

    @pytest.mark.parametrize("place", ["2.25.1/1", "2.25.1/0", "x/1", "2.25.1/99999999"])
    def test_what_is_not_there_is_no_error_of_ours(
        self, client: Client, rows: Database, settings: Settings, place: str
    ) -> None:
        study = imaged.receive(settings, rows, imaged.ct(1))
        assert client.get(f"/studies/{study}/view/frames/{place}").status_code in {404, 422}
        assert client.get(f"/studies/{study + 1}/view/frames/2.25.1/1").status_code == 404


class TestPriors:
    def test_a_priors_frames_are_given_for_its_own_study_alone(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        older, built = imaged.ct(2), imaged.ct(2)
        then = imaged.receive(settings, rows, older)
        now = imaged.receive(settings, rows, built)
        prior = imaged.prior_of(rows, now, then)
        found = client.get(f"/studies/{now}/view/series").json()["priors"]
        assert [(one["id"], one["shown"]) for one in found] == [(prior, True)]
        place = f"/studies/{now}/view/priors/{prior}"
        [stack] = client.get(f"{place}/series").json()["series"]
        sop = stack["frames"][0]["sop"]
        assert sop == older[0].SOPInstanceUID
        assert client.get(f"{place}/frames/{sop}/1").status_code == 200
        assert client.get(f"/studies/{then}/view/priors/{prior}/series").status_code == 404
        assert client.get(f"{place}/frames/{built[0].SOPInstanceUID}/1").status_code == 404
        noted = {one.object_id for one in audited(rows, "viewer.prior")}
        assert noted == {older[0].StudyInstanceUID}

    def test_a_refused_prior_is_not_shown(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        then = imaged.receive(settings, rows, imaged.ct(1))
        now = imaged.receive(settings, rows, imaged.ct(1))
        prior = imaged.prior_of(rows, now, then, "refused")
        assert client.get(f"/studies/{now}/view/priors/{prior}/series").status_code == 404


class TestWhoMaySee:
    def test_an_admin_who_is_no_radiologist_sees_no_image(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        [built] = imaged.ct(1)
        study = imaged.receive(settings, rows, [built])
        with rows.begin() as session:
            session.scalars(select(UserRow)).one().role = "admin"
        assert frame_of(client, study, built.SOPInstanceUID).status_code == 403
        assert client.get(f"/studies/{study}/view").status_code == 403

    def test_the_page_names_the_intended_use_and_marks_no_location(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        study = imaged.receive(settings, rows, imaged.ct(1))
        imaged.judged(rows, study)
        text = client.get(f"/studies/{study}/view").text
        assert "For prioritization only. Not for diagnosis." in text
        assert "heat" not in text.lower()
        (entry,) = audited(rows, "viewer.opened")
        assert entry.event_id == "110103"

    def test_a_name_of_64_kilobytes_of_markup_stays_text_and_short(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        study = imaged.receive(settings, rows, imaged.ct(1))
        with rows.begin() as session:
            name = "<script>alert(1)</script>\u202e" * 2_500
            session.get_one(StudyRow, study).patient_name = name
        text = client.get(f"/studies/{study}/view").text
        assert "<script>alert" not in text
        assert len(text) < 40_000


def test_frames_that_were_sent_are_kept_within_a_bound(
    settings: Settings, rows: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "KEPT_BYTES", 20_000)
    built = imaged.ct(12)
    imaged.receive(settings, rows, built)
    kept = frames.Frames(settings.site.decode)
    try:
        with rows.reading() as session:
            for row in session.scalars(select(InstanceRow)):
                path = imaged.stored(settings, row.sha256)
                made = kept.get(frames.Wanted(path, row.sha256, 1))
                assert len(gzip.decompress(made.content)) == 2 * imaged.SIDE**2
        assert 0 < kept.kept_bytes <= 20_000
    finally:
        kept.close()


def test_in_triage_mode_there_is_no_heat_map_at_all(
    client: Client, rows: Database, settings: Settings
) -> None:
    [built] = imaged.ct(1)
    study = imaged.receive(settings, rows, [built])
    assert client.get(f"/studies/{study}/view/heat/{built.SOPInstanceUID}/1").status_code == 404
    assert client.get(f"/studies/{study}/view/references/1").status_code == 404
