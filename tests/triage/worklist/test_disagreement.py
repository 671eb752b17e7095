"""A study whose header lies, from its pixels through detector, policy and rows to the reader."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.dataset import FileDataset
from sqlalchemy import select
from torch import Tensor

from db.engine import Database
from db.remarks import ReadingRow, WarningRow
from db.tables import DecisionRow, DetectionRow, StudyRow
from models import artifact
from models.calibrate import calibrate
from models.fit import Images, Labels, Plan, fit
from models.maddr import MADDR
from tests.models.cards import card
from tests.models.chests import SMALL, healthy
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited
from tests.workers.house import House, house
from triage.commands.demo_studies import radiograph
from triage.commands.study import describe
from triage.decide import decide
from workers.offline import analyse, studies

NAME = "two-organs"
PARAMS = {
    "base": "memae",
    "base_params": {**SMALL, "memory": "vector", "latent": 12},
    "organs": ["CHEST", "HEAD"],
    "modalities": ["DX"],
    "organ_features": 4,
    "modality_features": 4,
}
RECIPE = {"name": "tiny", "kind": "projection", "window": "percentiles", "size_px": [16, 16]}
ROUTES = {
    "routes": [
        {
            "name": "chest",
            "when": {"modality": ["DX"], "body_part": ["CHEST"]},
            "recipe": "chest-radiograph",
            "detectors": [NAME],
        }
    ]
}


def heads(count: int, *, seed: int = 0) -> Tensor:
    """Give pictures with a head's layout, voxels_NCHW: a bright ring on a dark ground."""
    generator = torch.Generator().manual_seed(seed)
    line = torch.linspace(-1, 1, 16)
    y, x = torch.meshgrid(line, line, indexing="ij")
    radius = 0.6 + 0.05 * torch.randn(count, 1, 1, generator=generator)
    ring = torch.exp(-((((x**2 + y**2).sqrt() - radius) * 6) ** 2))
    noise = 0.02 * torch.randn(count, 16, 16, generator=generator)
    return (0.9 * ring + noise).clamp(0, 1)[:, None]


def both(count: int, seed: int) -> tuple[Tensor, Labels]:
    voxels_NCHW = torch.cat([healthy(count, seed=seed), heads(count, seed=seed)])
    organ_N = torch.arange(2).repeat_interleave(count)
    low, high = (torch.quantile(voxels_NCHW.flatten(1), q, dim=1) for q in (0.005, 0.995))
    scaled = (voxels_NCHW - low[:, None, None, None]) / (high - low)[:, None, None, None]
    return scaled.clamp(0, 1), Labels(organ_N=organ_N)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on both organs, and give the folder of artifacts."""
    folder = tmp_path_factory.mktemp("trained")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = MADDR(**PARAMS)  # type: ignore[arg-type]
    (train, known), (held_out, known_too) = both(96, 1), both(16, 2)
    images = Images(train, held_out, known, known_too)
    plan = Plan(epochs=10, batch_size=32, learning_rate=0.01, average=0.9, jitter=0)
    fit(detector, images, plan, folder / "run")
    detector.settle([train])
    scores = detector.score(both(60, 3)[0]).score_N.tolist()
    described = card("maddr", detector.params).model_copy(update={"name": NAME, "recipe": RECIPE})
    calibration = calibrate({"DX/CHEST": scores})
    artifact.save(folder / "artifacts" / NAME, detector, described, calibration, "A card.\n")
    return folder / "artifacts"


@dataclass(frozen=True)
class Site:
    house: House
    database: Database


@pytest.fixture
def site(rows: Database, trained: Path, tmp_path: Path) -> Iterator[Site]:
    state = tmp_path / "site"
    state.mkdir()
    (state / "artifacts").symlink_to(trained)
    with house(rows, state, routes=ROUTES) as one:
        yield Site(one, rows)


def instance(voxels_HW: Tensor, key: str) -> FileDataset:
    """Give a picture as a digital radiograph whose header says CHEST."""
    pixels_HW = (voxels_HW.numpy() * 4095).astype(np.uint16).repeat(4, 0).repeat(4, 1)
    dataset = radiograph(pixels_HW, name="Canary^Name", key=key)
    assert dataset.BodyPartExamined == "CHEST"
    return dataset


def test_a_head_that_is_called_a_chest_is_marked_and_moved_neither_up_nor_down(
    site: Site, client: Client
) -> None:
    site.house.receive(instance(healthy(1, seed=9)[0, 0], "true"))
    site.house.receive(instance(heads(1, seed=9)[0, 0], "lie"))
    site.house.make_due()
    site.house.worker.drain()
    with site.database.reading() as session:
        true, lie = session.scalars(select(StudyRow).order_by(StudyRow.id))
        [warning] = session.scalars(select(WarningRow))
        said = session.scalars(select(DetectionRow).where(DetectionRow.study_id == lie.id)).one()
        readings = session.scalars(select(ReadingRow).where(ReadingRow.detection_id == said.id))
        look, other = sorted(readings, key=lambda row: row.kind)
        decision = session.scalars(select(DecisionRow).where(DecisionRow.study_id == lie.id)).one()
    assert (warning.study_id, warning.code, warning.detector) == (lie.id, "header-image", NAME)
    assert (look.kind, look.word, look.header) == ("organ", "HEAD", "CHEST")
    assert look.value >= 0.9
    assert look.header_value == pytest.approx(1 - look.value, abs=1e-5)
    assert (other.kind, other.word) == ("score", "centre")
    assert true.rank is not None
    assert lie.rank == pytest.approx(1 - said.p_value)
    assert (decision.outcome, decision.priority) == (lie.outcome, lie.priority)
    assert "disagree" not in lie.sentence

    text = client.get("/studies").text
    cells = {
        number: text.split(f'<tr id="study-{number}"')[1].split("<th")[0]
        for number in (true.id, lie.id)
    }
    assert "Header and image disagree" in cells[lie.id]
    assert "Header and image disagree" not in cells[true.id]
    assert warning.sentence in client.get(f"/studies/{lie.id}").text
    told = describe(site.database, str(lie.id))
    assert [one["code"] for one in told["warnings"]] == ["header-image"]
    assert {one["kind"] for one in told["readings"]} == {"organ", "score"}
    [entry] = audited(site.database, "study.warned")
    assert entry.object_id == lie.study_instance_uid
    assert "Canary" not in entry.detail


def test_a_folder_tells_the_same_and_the_warning_decides_nothing(
    site: Site, tmp_path: Path
) -> None:
    instance(heads(1, seed=9)[0, 0], "lie").save_as(tmp_path / "lie.dcm")
    [ref], _ = studies([tmp_path / "lie.dcm"])
    settings = site.house.settings
    found = analyse(ref, settings, site.house.worker.bench, None)
    told = found.as_dict()
    assert [one["code"] for one in told["warnings"]] == ["header-image"]
    [detection] = told["detections"]
    assert detection["looks"][0]["word"] == "HEAD"
    assert set(detection["others"]) == {"centre"}
    assert found.assessment is not None
    assert found.decision == decide(found.assessment.detections, settings.policy)
