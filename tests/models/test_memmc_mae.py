from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.contract import Batch
from models.curves import Epoch
from models.fit import Images, Plan, fit
from models.memmc_mae import VIT_B, MemMCMAE
from models.tokens import hidden, to_images, to_patches
from tests.models.chests import healthy, with_opacity

TINY: dict[str, object] = {
    "size_px": 16,
    "patch_px": 4,
    "width": 16,
    "depth": 3,
    "heads": 2,
    "decoder_width": 16,
    "decoder_depth": 2,
    "decoder_heads": 2,
    "memory": 4,
    "scales": 2,
}
PLAIN: dict[str, object] = {"memory": 0, "multi_level": False}


def _tiny(**params: object) -> MemMCMAE:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return MemMCMAE(**(TINY | params))  # type: ignore[arg-type]


def _by_pixel(visible_KV: Tensor) -> Tensor:
    """Give where pixels are hidden, (K, H, W)."""
    return to_images(hidden(visible_KV, 16)[None, :, :, None].expand(-1, -1, -1, 16), 4)[0]


class TestTheEncoder:
    def test_no_layer_ever_sees_a_hidden_pixel(self) -> None:
        detector, voxels = _tiny(), healthy(2)
        masks = detector.visible_KV.expand(2, -1, -1)
        before = detector.encode(voxels, masks)
        assert [level.shape for level in before] == [(8, 4, 16)] * 3
        for mask in range(4):
            changed = torch.where(_by_pixel(detector.visible_KV)[mask] > 0, 0.5, voxels)
            after = detector.encode(changed, masks)
            for one, two in zip(before, after, strict=True):
                seen = one.reshape(2, 4, 4, 16)[:, mask], two.reshape(2, 4, 4, 16)[:, mask]
                assert torch.equal(*seen)

    def test_a_visible_pixel_changes_every_layer(self) -> None:
        detector, voxels = _tiny(), healthy(1)
        mask = detector.visible_KV[None, :1]
        changed = torch.where(_by_pixel(detector.visible_KV)[0] > 0, voxels, 0.5)
        for one, two in zip(
            detector.encode(voxels, mask), detector.encode(changed, mask), strict=True
        ):
            assert not torch.allclose(one, two)

    def test_the_memories_of_all_layers_are_taught(self) -> None:
        detector = _tiny()
        torch.autograd.backward(detector.loss(Batch(healthy(4))).total)
        slots = [(name, p) for name, p in detector.named_parameters() if name.endswith("s_MF")]
        assert len(slots) == 2 * 3
        for name, parameter in slots:
            assert parameter.grad is not None, name
            assert (parameter.grad.abs().sum(1) > 0).all(), name

    def test_long_residuals_join_mirror_blocks(self) -> None:
        entered: list[Tensor] = []
        for skips, expected in ((True, [1, 2, 4]), (False, [1, 2, 3])):
            detector = _tiny(skips=skips, depth=3)
            entered.clear()
            for number in range(3):
                detector.encoder[number] = _AddsOne(entered)
            detector._through(detector.encoder, torch.ones(1))
            assert [int(each) for each in entered] == expected


class TestTheDecoder:
    def test_with_levels_it_sees_every_one(self) -> None:
        detector, voxels = _tiny(), healthy(1)
        masks = detector.visible_KV[None]
        before = detector.rebuild(voxels, masks)
        for number in range(3):
            levels = detector.encode(voxels, masks)
            levels[number] = levels[number] + torch.randn(16)
            assert not torch.allclose(_decoded(detector, levels), before)

    def test_without_it_sees_the_last_alone(self) -> None:
        detector, voxels = _tiny(multi_level=False), healthy(1)
        levels = detector.encode(voxels, detector.visible_KV[None])
        levels[0] = levels[0] + torch.randn(16)
        assert torch.equal(
            _decoded(detector, levels), detector.rebuild(voxels, detector.visible_KV[None])
        )

    def test_the_plain_autoencoder_has_neither_part(self) -> None:
        names = [name for name, _ in _tiny(**PLAIN).named_parameters()]
        assert not [name for name in names if "MF" in name or "levels" in name]
        assert [name for name, _ in _tiny().named_parameters() if "levels" in name]


class TestTheLoss:
    def test_only_hidden_pixels_count(self) -> None:
        detector, voxels = _tiny(), healthy(3)
        torch.manual_seed(4)
        loss = detector.loss(Batch(voxels)).total
        torch.manual_seed(4)
        visible = torch.rand(3, 16).argsort(1)[:, :4]
        rebuilt = detector.rebuild(voxels, visible[:, None])
        wrong = (rebuilt - voxels).square()[:, 0][_by_pixel(visible) > 0]
        assert torch.allclose(loss, wrong.mean())

    def test_it_is_drawn_anew_each_time_but_watched_with_fixed_masks(self) -> None:
        detector, batch = _tiny(), Batch(healthy(3))
        (stage,) = detector.stages()
        assert stage.watch is not None
        assert detector.loss(batch).total != detector.loss(batch).total
        assert stage.watch(batch) == stage.watch(batch)

    @pytest.mark.parametrize("params", [{"depth": 1}, {**PLAIN, "depth": 2}])
    def test_it_falls_on_a_small_set(self, params: dict[str, object]) -> None:
        detector, voxels = _tiny(**params), healthy(16)
        (stage,) = detector.stages()
        assert stage.watch is not None
        optimizer = torch.optim.AdamW(detector.parameters(), 3e-3, betas=(0.9, 0.95))
        before = stage.watch(Batch(voxels)).detach()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for _ in range(20):
                optimizer.zero_grad()
                torch.autograd.backward(detector.loss(Batch(voxels)).total)
                optimizer.step()
        assert stage.watch(Batch(voxels)) < 0.6 * before

    def test_a_run_that_was_killed_and_carried_on_draws_the_same_masks(
        self, tmp_path: Path
    ) -> None:
        images, plan = Images(healthy(8), healthy(4, seed=1)), Plan(epochs=3, batch_size=4)

        def kill(epoch: Epoch) -> None:
            if epoch.number == 2:
                raise InterruptedError

        whole, broken, resumed = _tiny(), _tiny(), _tiny()
        fit(whole, images, plan, tmp_path / "whole")
        with pytest.raises(InterruptedError):
            fit(broken, images, plan, tmp_path / "broken", progress=kill)
        torch.manual_seed(99)
        fit(resumed, images, plan, tmp_path / "broken", resume=True)
        for name, value in resumed.state_dict().items():
            assert torch.equal(value, whole.state_dict()[name]), name


class TestScore:
    def test_a_perfect_reconstruction_is_not_strange(self) -> None:
        anomaly = _Perfect(**TINY).score(healthy(2))  # type: ignore[arg-type]
        assert torch.allclose(anomaly.score_N, torch.zeros(2), atol=1e-5)

    def test_each_pixel_has_the_mean_of_the_masks_that_hide_it(self) -> None:
        detector, voxels = _tiny(repeats=2), healthy(2)
        anomaly = detector.score(voxels)
        total, times = torch.zeros(2, 16, 16), torch.zeros(16, 16)
        with torch.no_grad():
            for mask in detector.visible_KV:  # one at a time, each for itself
                is_hidden = _by_pixel(mask[None])[0] > 0
                rebuilt = detector.rebuild(voxels, mask.expand(2, 1, -1))
                shown = torch.where(is_hidden, rebuilt, voxels)
                strange = 1 - detector.likeness(voxels, shown)[:, 0]
                total += torch.where(is_hidden, strange, 0.0)
                times += is_hidden
        assert (times == 6).all()
        assert anomaly.map_NHW is not None
        assert torch.allclose(anomaly.map_NHW, total / times, atol=1e-5)

    def test_the_score_is_the_mean_of_the_patches_and_top_that_of_the_strangest(self) -> None:
        anomaly = _tiny().score(healthy(2))
        assert anomaly.map_NHW is not None
        patch_NP = to_patches(anomaly.map_NHW[:, None], 4)[:, 0].mean(2)
        assert torch.allclose(anomaly.score_N, patch_NP.mean(1))
        assert torch.allclose(anomaly.others["top"], patch_NP.max(1).values)  # 1 of 16

    def test_it_does_not_follow_the_global_generator(self) -> None:
        torch.manual_seed(1)
        first = _tiny().score(healthy(2)).score_N
        torch.manual_seed(2)
        assert torch.equal(_tiny().score(healthy(2)).score_N, first)

    def test_the_seed_of_the_masks_is_kept_and_changes_them(self) -> None:
        one, two = _tiny(mask_seed=1), _tiny(mask_seed=2)
        assert one.params["mask_seed"] == 1
        assert not torch.equal(one.visible_KV, two.visible_KV)
        assert not torch.equal(one.score(healthy(1)).score_N, two.score(healthy(1)).score_N)

    def test_in_half_precision_it_is_close_and_still_given_in_full(self) -> None:
        detector, voxels = _tiny(), healthy(2)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = detector.score(voxels).score_N
        assert half.dtype == torch.float32
        assert torch.allclose(half, detector.score(voxels).score_N, rtol=0.02)

    @pytest.mark.parametrize(
        ("params", "golden"),
        [
            ({}, [0.732910, 0.774923]),
            (PLAIN, [0.747947, 0.751867]),
            ({"gates": "level", "skips": False, "repeats": 2}, [0.741410, 0.756804]),
        ],
    )
    def test_a_fixed_seed_gives_the_golden_scores(
        self, params: dict[str, object], golden: list[float]
    ) -> None:
        voxels = torch.cat([healthy(1), with_opacity(healthy(1))])
        found = _tiny(**params).score(voxels).score_N.tolist()
        assert found == pytest.approx(golden, rel=1e-4)


class TestSizes:
    def test_its_usual_artifact_is_small(self) -> None:
        assert sum(value.nbytes for value in MemMCMAE().state_dict().values()) < 25_000_000

    @pytest.mark.parametrize(
        ("params", "expected"),
        [({}, 170_478_080), ({"gates": "level"}, 120_195_680), (PLAIN, 110_959_104)],
    )
    def test_the_paper_sized_one_has_the_weights_that_are_stated(
        self, params: dict[str, object], expected: int
    ) -> None:
        with torch.device("meta"):  # shapes without memory
            detector = MemMCMAE(**{**VIT_B, **params})
        assert sum(each.numel() for each in detector.parameters()) == expected
        assert detector.visible_KV.shape == (4, 49)

    @pytest.mark.slow
    def test_it_is_traced_whole_for_a_compiler(self) -> None:
        detector, voxels = _tiny(), healthy(2)
        expected = detector.score(voxels).map_NHW
        whole = torch.compile(detector.strangeness, backend="eager", fullgraph=True)
        with torch.inference_mode():
            found = whole(voxels, detector.visible_KV)
        assert expected is not None
        assert torch.allclose(found, expected, atol=1e-6)


class _Perfect(MemMCMAE):
    def rebuild(self, voxels_NCHW: Tensor, visible_NKV: Tensor) -> Tensor:
        return voxels_NCHW.expand(-1, visible_NKV.shape[1], -1, -1)


class _AddsOne(torch.nn.Module):
    def __init__(self, entered: list[Tensor]) -> None:
        super().__init__()
        self.entered = entered

    def forward(self, tokens: Tensor, levels: None) -> Tensor:
        self.entered.append(tokens)
        return tokens + 1


def _decoded(detector: MemMCMAE, levels: list[Tensor]) -> Tensor:
    """Rebuild one image from these levels, whatever the encoder would give."""

    def given(_voxels: Tensor, _masks: Tensor) -> list[Tensor]:
        return levels

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(detector, "encode", given)
        return detector.rebuild(healthy(1), detector.visible_KV[None])
