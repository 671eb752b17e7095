"""The heat map: in research mode, where a map is kept, at its own size; nothing under the limit."""

import json

import numpy as np
import pytest

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
