"""What every family owes the pipeline, whatever it is inside."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import models
from models import DETECTORS, UnknownDetector, artifact
from models.contract import Batch, Coder, Detector, Player
from models.fit import Images, Labels, Plan, fit
from tests.models.cards import CALIBRATION, card
from tests.models.chests import SMALL, SMALL_MAE, healthy, with_opacity

TINY: Mapping[str, object] = {"size_px": 16, "widths": (8, 8), "latent": 8}
SMALL_PARAMS: dict[str, Mapping[str, object]] = {
    "dpa": {**TINY, "feature_width": 8},
    "f-anogan": {**TINY, "critic_turns": 2},
    "ganomaly": TINY,
    "memae": {**SMALL, "relative": True},
}
"""By row: parameters that make it train in a moment on 16 by 16 pixels."""
SMALL_PARAMS |= {
    f"maddr over {base}": {
        "base": base,
        "base_params": {**params, "latent": 16},
        "organs": ["CHEST", "HEAD"],
        "modalities": ["DX", "CT"],
        "organ_features": 4,
        "modality_features": 4,
    }
    for base, params in SMALL_PARAMS.items()
}
SMALL_PARAMS["memmc-mae"] = SMALL_MAE
SMALL_PARAMS["mama-net"] = {"size_px": 16, "widths": (8, 8, 8), "slots": 32}
SMALL_PARAMS["simsid"] = {
    **TINY,
    "latent": 4,
    "slots": (12, 6, 4),
    "decoder_slots": 6,
    "generator_every": 1,
}
SMALL_ANCHOR: Mapping[str, object] = {"size_px": 16, "widths": (8, 8, 8), "slots": 64}
SMALL_PASTE_NET: Mapping[str, object] = {"size_px": 16, "widths": (8, 16)}
SMALL_PARAMS["anchor"] = SMALL_ANCHOR
SMALL_PARAMS["anchor by density"] = {**SMALL_ANCHOR, "heads": ("density",)}
SMALL_PARAMS["paste-net"] = SMALL_PASTE_NET
SMALL_PARAMS["ensemble"] = {
    "members": [
        {"family": "anchor", "params": SMALL_ANCHOR},
        {"family": "paste-net", "params": SMALL_PASTE_NET},
    ]
}
EPOCHS = {"simsid": 8, "memae": 8, "maddr over memae": 8, "memmc-mae": 8, "paste-net": 12}
"""By row, where it is not 4."""
ORGAN_N, MODALITY_N = torch.arange(96) % 2, torch.arange(96) // 2 % 2
Fitted = Callable[[str], Detector]


def _family(row: str) -> str:
    return row.partition(" ")[0]


def _new(row: str) -> Detector:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return models.load(_family(row))(**SMALL_PARAMS[row])


def _labels(count: int) -> Labels:
    return Labels(ORGAN_N[:count], MODALITY_N[:count])


@cache
def _fitted(family: str, folder: Path) -> Detector:
    detector = _new(family)
    images = Images(healthy(96), healthy(32, seed=1), _labels(96), _labels(32))
    plan = Plan(epochs=EPOCHS.get(family, 4), batch_size=16, jitter=0)
    fit(detector, images, plan, folder / family)
    detector.settle(torch.split(images.train, 32))
    return detector


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    folder = tmp_path_factory.mktemp("runs")
    return lambda family: _fitted(family, folder)


def _players(detector: Detector) -> list[Player]:
    return [player for stage in detector.stages() for player in stage.players]


def _batch(count: int = 8) -> Batch:
    return Batch(healthy(count), ORGAN_N[:count].clone(), MODALITY_N[:count].clone())


@pytest.mark.parametrize("family", SMALL_PARAMS)
class TestEveryTrainedDetector:
    def test_it_scores_a_pasted_opacity_above_the_same_picture_without(
        self, family: str, fitted: Fitted
    ) -> None:
        voxels = healthy(24, seed=2)
        clean, strange = fitted(family).score(voxels), fitted(family).score(with_opacity(voxels))
        assert (strange.score_N > clean.score_N).all()

    def test_a_score_does_not_depend_on_its_batch_mates(self, family: str, fitted: Fitted) -> None:
        voxels = torch.cat([healthy(8, seed=3), with_opacity(healthy(8, seed=4))])
        together = _all_scores(fitted(family), voxels)
        parts = [_all_scores(fitted(family), one) for one in torch.split(voxels, 1)]
        for name, score_N in together.items():
            alone = torch.cat([part[name] for part in parts])
            assert torch.allclose(score_N, alone, rtol=1e-5, atol=1e-6), name

    def test_nor_does_it_in_training_mode(self, family: str, fitted: Fitted) -> None:
        detector, voxels = fitted(family), healthy(8, seed=3)
        expected = detector.score(voxels[:1]).score_N
        detector.train()
        try:
            assert torch.allclose(detector.score(voxels).score_N[:1], expected, rtol=1e-5)
        finally:
            detector.eval()

    def test_it_gives_the_same_answer_twice(self, family: str, fitted: Fitted) -> None:
        voxels = healthy(4, seed=5)
        first, second = fitted(family).score(voxels), fitted(family).score(voxels)
        assert torch.equal(first.score_N, second.score_N)

    def test_scoring_changes_nothing_and_leaves_no_graph(self, family: str, fitted: Fitted) -> None:
        detector, voxels = fitted(family), healthy(4, seed=6)
        before = {name: value.clone() for name, value in detector.state_dict().items()}
        for score_N in _all_scores(detector, voxels).values():
            assert not score_N.requires_grad
        assert torch.equal(voxels, healthy(4, seed=6))
        for name, value in detector.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_training_leaves_no_gradient_behind(self, family: str, fitted: Fitted) -> None:
        assert all(parameter.grad is None for parameter in fitted(family).parameters())

    def test_the_map_is_not_negative_and_as_large_as_the_input(
        self, family: str, fitted: Fitted
    ) -> None:
        detector = fitted(family)
        anomaly = detector.score(healthy(3, seed=7))
        for name, score_N in _all_scores(detector, healthy(3, seed=7)).items():
            assert score_N.shape == (3,), name
            assert score_N.dtype == torch.float32, name
            assert score_N.isfinite().all(), name
        if anomaly.map_NHW is not None:
            assert anomaly.map_NHW.shape == (3, 16, 16)
            assert (anomaly.map_NHW >= 0).all()

    def test_images_are_described_each_for_itself(self, family: str, fitted: Fitted) -> None:
        voxels = healthy(3, seed=7)
        found = fitted(family).describe(voxels)
        assert found.ndim == 2
        assert found.isfinite().all()
        assert not torch.allclose(found[0], found[1], rtol=1e-3)
        assert torch.allclose(found[1:2], fitted(family).describe(voxels[1:2]), atol=1e-4)

    def test_a_round_trip_to_disk_changes_no_bit_of_a_score(
        self, family: str, fitted: Fitted, tmp_path: Path
    ) -> None:
        before = fitted(family)
        described = card(family=_family(family), params=before.params)
        artifact.save(tmp_path / "a", before, described, CALIBRATION, "A card.\n")
        after = artifact.load(tmp_path / "a").detector
        voxels = healthy(4, seed=8)
        assert torch.equal(before.score(voxels).score_N, after.score(voxels).score_N)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_a_gpu_gives_the_same_scores(self, family: str, fitted: Fitted) -> None:
        voxels = torch.cat([healthy(8, seed=9), with_opacity(healthy(8, seed=9))])
        here = fitted(family).score(voxels).score_N
        try:
            there = fitted(family).to("cuda").score(voxels.to("cuda")).score_N.cpu()
        finally:
            fitted(family).to("cpu")
        assert torch.allclose(here, there, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", SMALL_PARAMS)
class TestEveryFamily:
    def test_the_same_seed_trains_the_same_weights(self, family: str, tmp_path: Path) -> None:
        states = []
        for run in ("a", "b"):
            detector = _new(family)
            images = Images(healthy(8), healthy(4, seed=1), _labels(8), _labels(4))
            fit(detector, images, Plan(epochs=1, batch_size=4), tmp_path / run)
            states.append(detector.state_dict())
        assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())

    def test_every_player_has_a_loss_of_finite_parts_that_teach_what_it_moves(
        self, family: str
    ) -> None:
        for player in _players(_new(family)):
            loss = player.loss(_batch())
            moved = [p for module in player.modules for p in module.parameters()]
            assert all(torch.isfinite(part) for part in loss.parts.values())
            for name, part in loss.parts.items():
                assert any(_reaches(part, moved)), f"{player.name}/{name}"

    def test_every_parameter_is_taught_by_some_player(self, family: str) -> None:
        detector, taught = _new(family), set[nn.Parameter]()
        for player in _players(detector):
            moved = [p for module in player.modules for p in module.parameters()]
            reached = _reaches(player.loss(_batch()).total, moved)
            taught |= {p for p, yes in zip(moved, reached, strict=True) if yes}
        assert [n for n, p in detector.named_parameters() if p not in taught] == []

    def test_it_can_be_trained_in_half_precision_as_on_a_gpu(self, family: str) -> None:
        for player in _players(_new(family)):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = player.loss(_batch())
            torch.autograd.backward(loss.total)
            moved = [p for module in player.modules for p in module.parameters()]
            assert torch.isfinite(loss.total)
            assert all(p.grad is not None and p.grad.isfinite().all() for p in moved)

    def test_no_loss_changes_the_images_or_their_labels(self, family: str) -> None:
        batch, again = _batch(), _batch()
        for player in _players(_new(family)):
            player.loss(batch)
        assert torch.equal(batch.voxels_NCHW, again.voxels_NCHW)
        for given, kept in ((batch.organ_N, again.organ_N), (batch.modality_N, again.modality_N)):
            assert given is not None
            assert kept is not None
            assert torch.equal(given, kept)

    def test_one_player_carries_the_codes_with_their_gradient(self, family: str) -> None:
        detector = _new(family)
        if not isinstance(detector, Coder):
            pytest.skip("has no codes")
        (player,) = (player for player in _players(detector) if player.encodes)
        latent_NF = player.loss(_batch()).latent_NF
        assert latent_NF is not None
        assert latent_NF.shape == (8, detector.code_features)
        assert torch.allclose(latent_NF, detector.encode(healthy(8)), atol=1e-6)
        moved = [p for module in player.modules for p in module.parameters()]
        assert any(_reaches(latent_NF.square().sum(), moved))
        assert detector.decode(latent_NF).shape == (8, 1, 16, 16)


def test_every_family_has_a_row() -> None:
    assert {_family(row) for row in SMALL_PARAMS} == set(DETECTORS)


@pytest.mark.parametrize("family", ["dpa", "f-anogan", "ganomaly", "memae"])
class TestEveryBase:
    def test_its_usual_artifact_is_small(self, family: str) -> None:
        state = models.load(family)().state_dict()
        assert sum(value.nbytes for value in state.values()) < 25_000_000

    def test_it_can_be_built_for_large_images(self, family: str) -> None:
        anomaly = models.load(family)(size_px=224, widths=(8,) * 5).score(healthy(1, size_px=224))
        assert anomaly.map_NHW is not None
        assert anomaly.map_NHW.shape == (1, 224, 224)
        assert anomaly.score_N.isfinite().all()


def _all_scores(detector: Detector, voxels_NCHW: Tensor) -> dict[str, Tensor]:
    anomaly = detector.score(voxels_NCHW)
    return {"score": anomaly.score_N, **anomaly.others}


def _reaches(value: Tensor, parameters: list[nn.Parameter]) -> list[bool]:
    found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return [each is not None and bool(each.abs().sum() > 0) for each in found]


def test_an_unknown_family_is_told_the_known_ones() -> None:
    with pytest.raises(UnknownDetector, match="memae"):
        models.load("oracle")
