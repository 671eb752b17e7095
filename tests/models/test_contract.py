"""What every family owes the pipeline, whatever it is inside."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

import models
from models import DETECTORS, UnknownDetector, artifact
from models.contract import Batch, Detector
from models.fit import Images, Labels, Plan, fit
from tests.models.cards import CALIBRATION, card
from tests.models.chests import SMALL, healthy, with_opacity

SMALL_PARAMS: dict[str, dict[str, object]] = {"memae": SMALL | {"relative": True}}
"""By family: parameters that make it train in a moment on 16 by 16 pixels."""
SPLIT = {"organ_features": 2, "modality_features": 2}
NAMED = {"organs": ["CHEST", "HEAD"], "modalities": ["DX", "CT"]}
SMALL_PARAMS |= {
    f"maddr over {base}": {"base": base, "base_params": params, **NAMED, **SPLIT}
    for base, params in SMALL_PARAMS.items()
}
Fitted = Callable[[str], Detector]


def new(row: str) -> Detector:
    return models.load(row.partition(" ")[0])(**SMALL_PARAMS[row])


def labels(count: int) -> Labels:
    """Give labels of which each pair comes as often."""
    return Labels(torch.arange(count) % 2, torch.arange(count) // 2 % 2)


@cache
def _fitted(family: str, folder: Path) -> Detector:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = new(family)
    images = Images(healthy(96), healthy(32, seed=1), labels(96), labels(32))
    fit(detector, images, Plan(epochs=8, batch_size=16, jitter=0), folder / family)
    detector.settle(torch.split(images.train, 32))
    return detector


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    folder = tmp_path_factory.mktemp("runs")
    return lambda family: _fitted(family, folder)


def test_every_family_has_a_row() -> None:
    assert {row.partition(" ")[0] for row in SMALL_PARAMS} == set(DETECTORS)


@pytest.mark.parametrize("family", SMALL_PARAMS)
class TestEveryDetector:
    def test_it_scores_a_pasted_opacity_above_the_same_picture_without(
        self, family: str, fitted: Fitted
    ) -> None:
        voxels = healthy(24, seed=2)
        clean, strange = fitted(family).score(voxels), fitted(family).score(with_opacity(voxels))
        assert (strange.score_N > clean.score_N).all()

    def test_a_score_does_not_depend_on_its_batch_mates(self, family: str, fitted: Fitted) -> None:
        voxels = torch.cat([healthy(8, seed=3), with_opacity(healthy(8, seed=4))])
        together = fitted(family).score(voxels).score_N
        alone = torch.cat([fitted(family).score(one).score_N for one in torch.split(voxels, 1)])
        assert torch.allclose(together, alone, rtol=1e-5, atol=1e-7)

    def test_it_gives_the_same_answer_twice(self, family: str, fitted: Fitted) -> None:
        voxels = healthy(4, seed=5)
        first, second = fitted(family).score(voxels), fitted(family).score(voxels)
        assert torch.equal(first.score_N, second.score_N)

    def test_scoring_changes_nothing_and_leaves_no_graph(self, family: str, fitted: Fitted) -> None:
        detector = fitted(family)
        before = {name: value.clone() for name, value in detector.state_dict().items()}
        anomaly = detector.score(healthy(4, seed=6))
        assert not anomaly.score_N.requires_grad
        for name, value in detector.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_the_map_is_not_negative_and_as_large_as_the_input(
        self, family: str, fitted: Fitted
    ) -> None:
        anomaly = fitted(family).score(healthy(3, seed=7))
        assert anomaly.score_N.shape == (3,)
        assert anomaly.score_N.dtype == torch.float32
        if anomaly.map_NHW is not None:
            assert anomaly.map_NHW.shape == (3, 16, 16)
            assert (anomaly.map_NHW >= 0).all()

    def test_a_round_trip_to_disk_changes_no_bit_of_a_score(
        self, family: str, fitted: Fitted, tmp_path: Path
    ) -> None:
        before = fitted(family)
        described = card(family=family.partition(" ")[0], params=before.params)
        artifact.save(tmp_path / "a", before, described, CALIBRATION, "A card.\n")
        after = artifact.load(tmp_path / "a").detector
        voxels = healthy(4, seed=8)
        assert torch.equal(before.score(voxels).score_N, after.score(voxels).score_N)

    def test_the_loss_is_the_sum_of_finite_parts_and_teaches_every_parameter(
        self, family: str
    ) -> None:
        detector, known = new(family), labels(8)
        loss = detector.loss(Batch(healthy(8), known.organ_N, known.modality_N))
        torch.autograd.backward(loss.total)
        assert all(torch.isfinite(part) for part in loss.parts.values())
        assert _untaught(detector) == []


def _untaught(detector: nn.Module) -> list[str]:
    return [
        name
        for name, parameter in detector.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]


def test_an_unknown_family_is_told_the_known_ones() -> None:
    with pytest.raises(UnknownDetector, match="memae"):
        models.load("oracle")
