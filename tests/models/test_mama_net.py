from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.contract import BadParams, Batch
from models.fit import Images, Plan, fit
from models.hash_memory import EmptyBank, HashMemory
from models.mama_net import MAMANet, peak, wasserstein
from tests.models.chests import healthy, with_opacity

TINY: dict[str, object] = {"size_px": 16, "widths": (8, 8, 8), "slots": 16}


def _small(seed: int = 0, **params: object) -> MAMANet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MAMANet(**(TINY | params))  # type: ignore[arg-type]


class TestWasserstein:
    def test_it_is_the_mean_distance_of_the_sorted_intensities(self) -> None:
        one = torch.tensor([0.0, 3.0, 1.0, 2.0]).reshape(1, 1, 2, 2)
        other = torch.tensor([5.0, 1.0, 0.0, 2.0]).reshape(1, 1, 2, 2)
        assert wasserstein(one, other).item() == pytest.approx(2 / 4)

    def test_where_the_intensities_lie_is_nothing_to_it(self) -> None:
        images = healthy(3)
        assert wasserstein(images, images.flip(3)).item() == 0

    def test_every_image_is_compared_with_its_own(self) -> None:
        images = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 1, 4, 4)
        assert wasserstein(images, images.flip(0)).item() == 1


class TestPeak:
    def test_an_even_map_is_its_own_peak(self) -> None:
        assert torch.allclose(peak(torch.full((2, 16, 16), 0.25)), torch.full((2,), 0.25))

    def test_a_spot_counts_once_it_is_more_than_half_a_percent(self) -> None:
        maps = torch.zeros(2, 40, 40)
        maps[0, 20, 20] = 25.0  # blurred over 25 of 1600 places, 1.6 percent
        maps[1, 0, 0] = 25.0  # in a corner it is repeated over the rim, on 9 places, 0.6 percent
        assert peak(maps)[0].item() == pytest.approx(1.0)
        assert peak(maps)[1].item() >= 1.0

    def test_a_percentile_leaves_a_smaller_spot_out(self) -> None:
        maps = torch.zeros(1, 100, 100)
        maps[0, 50, 50] = 25.0
        assert peak(maps).item() == 0


class TestSizes:
    def test_at_the_papers_size_the_maps_are_the_papers(self) -> None:
        detector = _small(size_px=228)
        with torch.no_grad():
            maps = detector._maps(torch.rand(1, 1, 228, 228))
        assert [tuple(each.shape[2:]) for each in maps] == [(114, 114), (57, 57), (29, 29)]
        anomaly = detector.score(torch.rand(1, 1, 228, 228))
        assert anomaly.map_NHW is not None
        assert anomaly.map_NHW.shape == (1, 228, 228)

    def test_the_usual_artifact_is_small(self) -> None:
        for memory in ("position", "image", "bank"):
            held = MAMANet(memory=memory).state_dict().values()
            assert sum(each.nbytes for each in held) < 25_000_000, memory

    @pytest.mark.parametrize(
        ("params", "match"),
        [
            ({"widths": (8, 8)}, "3"),
            ({"widths": (8, 8, 12)}, "8"),
            ({"skips": "some"}, "faithful, strict"),
            ({"attention": "global"}, "pooled, channel"),
            ({"memory": "pixel"}, "position, image, bank"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, params: dict[str, Any], match: str) -> None:
        with pytest.raises(BadParams, match=match):
            _small(**params)


class TestSkips:
    @pytest.mark.parametrize(("skips", "passes"), [("strict", False), ("faithful", True)])
    def test_only_the_faithful_ones_lead_the_image_around_the_memory(
        self, skips: str, passes: bool
    ) -> None:
        detector = _small(skips=skips)
        with torch.no_grad():
            assert isinstance(detector.memory, HashMemory)
            detector.memory.slots_MF.fill_(0.5)  # whatever is asked, the answer is one
            one, other = detector.rebuild(torch.cat([healthy(1), healthy(1, seed=9)]))
        assert torch.equal(one, other) is not passes

    def test_without_the_basis_there_is_neither_block_nor_its_channels(self) -> None:
        detector = _small(basis=False)
        assert detector.basis is None
        assert detector.join_last.patch.in_channels == 8
        assert detector.rebuild(healthy(2)).shape == (2, 1, 16, 16)


class TestLoss:
    def test_it_is_the_squared_error_plus_the_weighted_distance(self) -> None:
        detector = _small(wasserstein_weight=0.5).eval()
        rebuilt = detector.rebuild(healthy(4))
        loss = detector.loss(Batch(healthy(4)))
        expected = F.mse_loss(rebuilt, healthy(4)) + 0.5 * wasserstein(rebuilt, healthy(4))
        assert torch.allclose(loss.total, expected)

    def test_without_its_weight_the_distance_is_no_part(self) -> None:
        loss = _small(wasserstein_weight=0.0).loss(Batch(healthy(4)))
        assert set(loss.parts) == {"reconstruction"}
        assert torch.equal(loss.total, loss.parts["reconstruction"])

    @pytest.mark.parametrize("skips", ["strict", "faithful"])
    @pytest.mark.parametrize("memory", ["position", "image"])
    def test_it_teaches_slots_hash_layer_and_encoder(self, memory: str, skips: str) -> None:
        detector = _small(memory=memory, skips=skips)
        torch.autograd.backward(detector.loss(Batch(healthy(4))).total)
        untaught = [
            name
            for name, each in detector.named_parameters()
            if each.grad is None or not each.grad.any()
        ]
        assert untaught == []


class TestScore:
    def test_it_is_the_mean_of_the_map_and_the_map_the_squared_residual(self) -> None:
        detector, voxels = _small(), healthy(3)
        anomaly = detector.score(voxels)
        with torch.no_grad():
            expected = (detector.rebuild(voxels) - voxels).square()[:, 0]
        assert anomaly.map_NHW is not None
        assert torch.equal(anomaly.map_NHW, expected)
        assert torch.allclose(anomaly.score_N, expected.mean((1, 2)))
        assert torch.equal(anomaly.others["peak"], peak(expected))

    def test_learning_and_scoring_rebuild_the_same_image(self) -> None:
        detector = _small().eval()
        with torch.no_grad():
            looked_up = detector.rebuild(healthy(8))
        assert torch.allclose(detector.rebuild(healthy(8)), looked_up, atol=1e-5)

    @pytest.mark.parametrize("memory", ["position", "image"])
    def test_not_a_bit_of_it_depends_on_batch_mates_where_codes_are_chosen(
        self, memory: str
    ) -> None:
        detector = _small(size_px=64, widths=(16, 32, 64), slots=500, memory=memory)
        voxels = healthy(6, size_px=64)
        with torch.no_grad():
            together = detector._apart(voxels)[-1]
            alone = torch.cat([detector._apart(each)[-1] for each in torch.split(voxels, 1)])
        assert torch.equal(together, alone)

    @pytest.mark.parametrize(
        ("params", "golden"),
        [
            ({}, [0.58814, 0.5704511, 0.5710508]),
            ({"skips": "faithful", "attention": "channel"}, [0.3969538, 0.3983372, 0.4032452]),
            ({"memory": "image", "address": "soft"}, [0.5901225, 0.5503799, 0.5796882]),
        ],
    )
    def test_a_fixed_seed_gives_the_golden_scores(
        self, params: dict[str, Any], golden: list[float]
    ) -> None:
        score_N = _small(**params).score(healthy(3)).score_N
        assert score_N.tolist() == pytest.approx(golden, rel=1e-4)


class TestBank:
    def test_it_is_filled_by_settling_and_scores_afterwards(self) -> None:
        detector = _small(memory="bank")
        with pytest.raises(EmptyBank):
            detector.score(healthy(2))
        detector.settle(iter([healthy(8), healthy(8, seed=1)]))
        assert detector.memory.stored().shape == (16, 8)
        again = _small(seed=1, memory="bank")
        again.load_state_dict(detector.state_dict())
        assert torch.equal(again.score(healthy(2)).score_N, detector.score(healthy(2)).score_N)


class TestTraining:
    def _fitted(self, folder: Path, params: dict[str, Any]) -> tuple[MAMANet, list[float]]:
        detector = _small(**params)
        images = Images(healthy(48), healthy(16, seed=1))
        plan = Plan(epochs=6, batch_size=16, learning_rate=3e-3, jitter=0, average=0.9)
        history = fit(detector, images, plan, folder)
        detector.settle(torch.split(images.train, 16))
        return detector, [epoch.held_out_loss or 0.0 for epoch in history]

    @pytest.mark.parametrize(
        "params",
        [
            {"skips": "faithful"},
            {"attention": "channel", "basis": False},
            {"memory": "image"},
            {"memory": "bank"},
            {"address": "soft"},
        ],
    )
    def test_under_every_switch_the_held_out_loss_falls_and_an_opacity_stands_out(
        self, params: dict[str, Any], tmp_path: Path
    ) -> None:
        detector, held_out = self._fitted(tmp_path, params)
        assert held_out[-1] < 0.8 * held_out[0]
        voxels = healthy(12, seed=2)
        clean, strange = detector.score(voxels), detector.score(with_opacity(voxels))
        assert (strange.score_N > clean.score_N).float().mean() >= 0.9

    def test_a_killed_run_in_which_slots_start_anew_ends_the_same(self, tmp_path: Path) -> None:
        images = Images(healthy(32), healthy(8, seed=1))
        plan = Plan(epochs=3, batch_size=8, jitter=0)

        def stop(epoch: object) -> None:
            if getattr(epoch, "number", 0) == 2:
                raise KeyboardInterrupt

        whole, killed, resumed = (_small(idle=2) for _ in range(3))
        fit(whole, images, plan, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            fit(killed, images, plan, tmp_path / "killed", progress=stop)
        fit(resumed, images, plan, tmp_path / "killed", resume=True)
        assert isinstance(whole.memory, HashMemory)
        assert whole.memory.idle_M.max() <= 2
        states: list[dict[str, Tensor]] = [each.state_dict() for each in (whole, resumed)]
        assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
