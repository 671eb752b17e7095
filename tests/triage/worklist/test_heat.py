"""The heat map: in research mode, where a map is kept, at its own size; nothing under the limit."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from db.engine import Database
from tests.triage.worklist import imaged
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited
from triage import maps
from triage.settings import Settings
from triage.worklist import heat


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return imaged.in_research(settings)


def test_it_lies_where_the_detector_looked_and_is_empty_under_the_limit(
    client: Client, rows: Database, settings: Settings
) -> None:
    study, sop = imaged.with_map(settings, rows)
    answer = client.get(f"/studies/{study}/view/heat/{sop}/1")
    facts = json.loads(answer.headers["x-heat"])
    assert facts["map"] == [8, 8]
    assert facts["full"] == [imaged.SIDE, imaged.SIDE]
    assert (facts["p"], facts["n"], facts["from"]) == (0.0132, 500, 0.5)
    shown = np.frombuffer(answer.content, np.uint8).reshape(facts["rows"], facts["columns"])
    assert shown[2, 2] == 255
    assert (shown[:16, :16] > 0).mean() > 0.9
    assert not shown[32:, :].any(), "a quarter of the highest is not drawn"
    (entry,) = audited(rows, "viewer.heat")
    assert entry.event_id == "110103"


def test_with_healthy_maps_it_says_how_many_have_a_point_as_strong(
    client: Client, rows: Database, settings: Settings
) -> None:
    healthy = [0.5] * 2 + [2.0] * 5 + [3.0] * 2
    study, sop = imaged.with_map(settings, rows, healthy=healthy)
    answer = client.get(f"/studies/{study}/view/heat/{sop}/1")
    facts = json.loads(answer.headers["x-heat"])
    assert (facts["healthy"], facts["from_p"], facts["least_p"]) == (9, 0.5, pytest.approx(0.1))
    assert facts["beyond"] == heat.BEYOND
    shown = np.frombuffer(answer.content, np.uint8).reshape(facts["rows"], facts["columns"])
    assert shown[2, 2] == 255, "stronger than all healthy ones, and the strongest here"
    assert not shown[32:, :].any(), "seven of nine healthy studies have a point as strong as 1"


def test_a_level_is_a_rank_among_healthy_maps_and_beyond_them_a_height() -> None:
    values = np.asarray([[[1.9, 2.0, 2.9, 3.0, 3.0, 3.5, 4.0]]], np.float32)
    healthy = np.sort(np.r_[np.full(60, 1.0), np.full(39, 3.0)]).astype(np.float32)
    one = maps.AnomalyMap(values, np.eye(4)[None], (("2.25.1", 1),), healthy)
    assert one.as_strange(values)[0, 0, ::3] == pytest.approx([0.4, 0.4, 0.01])
    laid = heat.levels(one, 0, (1, 7), 0.5)[0]
    assert list(laid[:5]) == [12, 12, 12, 12, 12], "as strong in 39 of 99: two in five"
    assert list(laid[5:]) == [heat.BEYOND + 32, heat.LEVELS]
    bare = replace(one, healthy=np.zeros(0, np.float32))
    assert list(heat.levels(bare, 0, (1, 7), 0.5)[0])[::6] == [0, heat.LEVELS]
    alone = replace(one, healthy=healthy[:1])
    assert (heat.levels(alone, 0, (1, 7), 0.5) == heat.levels(bare, 0, (1, 7), 0.5)).all()
    with pytest.raises(ValueError, match="nothing of healthy"):
        bare.as_strange(values)


def test_a_large_image_gets_its_map_on_every_nth_pixel(rows: Database, settings: Settings) -> None:
    values = np.ones((1, 4, 4), np.float32)
    matrix = np.diag([1.0, 500.0, 500.0, 1.0])
    one = maps.AnomalyMap(values, matrix[None], (("2.25.1", 1),))
    laid = heat.levels(one, 0, (2000, 1600), 0.5)
    assert laid.shape == (500, 400)


def test_without_a_map_it_says_so(client: Client, rows: Database, settings: Settings) -> None:
    [built] = imaged.ct(1)
    study = imaged.receive(settings, rows, [built])
    imaged.judged(rows, study)
    answer = client.get(f"/studies/{study}/view/heat/{built.SOPInstanceUID}/1")
    assert answer.status_code == 404
    assert answer.json()["detail"] == heat.NONE_HERE


def test_a_map_that_is_gone_says_so(client: Client, rows: Database, settings: Settings) -> None:
    study, sop = imaged.with_map(settings, rows)
    for path in settings.results.rglob("*.map"):
        path.unlink()
    assert client.get(f"/studies/{study}/view/heat/{sop}/1").status_code == 410


def test_the_healthy_references_are_shown_with_their_distances(
    client: Client, rows: Database, settings: Settings
) -> None:
    study, sop = imaged.with_map(settings, rows, alike=imaged.references())
    facts = json.loads(client.get(f"/studies/{study}/view/heat/{sop}/1").headers["x-heat"])
    assert (facts["alike"], facts["usual"]) == ([0.5, 0.75, 1.25], 0.625)
    for place, grey in enumerate((250, 60, 120, 180)):
        answer = client.get(f"/studies/{study}/view/references/{place}")
        assert answer.headers["content-type"] == "image/png"
        picture = Image.open(io.BytesIO(answer.content))
        assert (picture.size, picture.getpixel((8, 8))) == ((16, 16), grey)
    assert len(audited(rows, "viewer.references")) == 4
    assert client.get(f"/studies/{study}/view/references/4").status_code in {404, 422}


def test_without_references_it_says_so(client: Client, rows: Database, settings: Settings) -> None:
    study, _ = imaged.with_map(settings, rows)
    answer = client.get(f"/studies/{study}/view/references/1")
    assert (answer.status_code, answer.json()["detail"]) == (404, heat.NO_REFERENCES)
