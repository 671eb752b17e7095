from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from models.checkpoint import copy
from models.contract import BadParams, Batch
from models.fit import Images, Plan, fit
from models.simsid import WEIGHTS, SimSID
from models.space_memory import SpaceMemory
from tests.models.chests import healthy, with_opacity


def _small(seed: int = 0, **params: object) -> SimSID:
    tiny: dict[str, object] = {
        "size_px": 16, "widths": (8, 8), "latent": 4, "slots": (12, 6, 4), "decoder_slots": 6
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SimSID(**(tiny | params))  # type: ignore[arg-type]


def _reached(part: Tensor, module: nn.Module | None) -> bool:
    assert module is not None
    found = torch.autograd.grad(
        part, list(module.parameters()), retain_graph=True, allow_unused=True
    )
    return any(each is not None and bool(each.abs().sum() > 0) for each in found)


class TestTheGeneratorsLoss:
    def test_its_parts_are_weighed_as_published_and_the_fifth_as_said(self) -> None:
        loss = _small().loss(Batch(healthy(4)))
        assert dict(WEIGHTS) == {
            "reconstruction": 10, "teacher": 0.01, "distillation": 0.001, "adversarial": 0.005,
            "features": 0.1,
        }  # fmt: skip
        expected = sum(WEIGHTS[name] * part for name, part in loss.parts.items())
        assert set(loss.parts) == set(WEIGHTS)
        assert torch.allclose(loss.total, cast("Tensor", expected))

    def test_a_weight_can_be_changed(self) -> None:
        batch = Batch(healthy(4))
        published = _small(weights={"features": 0}).eval().loss(batch)
        parts = published.parts
        known = sum(WEIGHTS[name] * parts[name] for name in parts if name != "features")
        assert torch.allclose(published.total, cast("Tensor", known))

    def test_the_teachers_image_teaches_the_teacher_and_not_the_encoder(self) -> None:
        detector = _small()
        part = detector.loss(Batch(healthy(4))).parts["teacher"]
        assert _reached(part, detector.teacher)
        assert not _reached(part, detector.encoder)
        assert not _reached(part, detector.student)

    @pytest.mark.parametrize("stop_gradient", [True, False])
    def test_the_student_follows_the_teacher_who_stands_still_where_that_is_wanted(
        self, stop_gradient: bool
    ) -> None:
        detector = _small(stop_gradient=stop_gradient)
        part = detector.loss(Batch(healthy(4))).parts["distillation"]
        assert _reached(part, detector.student)
        assert _reached(part, detector.teacher) is not stop_gradient

    def test_what_is_painted_is_pulled_to_what_was_seen_and_not_the_other_way(self) -> None:
        detector = _small()
        part = detector.loss(Batch(healthy(4))).parts["features"]
        assert detector.bottleneck is not None
        last = detector.encoder.steps[-1]
        (slope,) = torch.autograd.grad(part, [detector.bottleneck.expand.weight], retain_graph=True)
        assert slope.abs().sum() > 0
        # It reaches the encoder through what asks alone: the goal itself is fixed.
        with torch.no_grad():
            detector.bottleneck.squeeze.weight.zero_()
        assert not _reached(detector.loss(Batch(healthy(4))).parts["features"], last)

    def test_the_shortcut_is_of_the_training_alone(self) -> None:
        detector, batch = _small(shortcut=0.5), Batch(healthy(4))
        assert detector.loss(batch).total != detector.loss(batch).total
        detector.eval()
        assert detector.loss(batch).total == detector.loss(batch).total

    def test_the_watched_loss_leaves_the_discriminators_view_out(self) -> None:
        detector, batch = _small().eval(), Batch(healthy(4))
        (stage,) = detector.stages()
        assert stage.watch is not None
        loss = detector.loss(batch)
        without = loss.total - WEIGHTS["adversarial"] * loss.parts["adversarial"]
        assert torch.allclose(stage.watch(batch), without)


class TestTheDiscriminatorsLoss:
    def test_it_plays_on_every_batch_and_the_generators_on_every_second(self) -> None:
        (stage,) = _small().stages()
        assert [(each.name, each.every) for each in stage.players] == [
            ("discriminator", 1), ("generator", 2)
        ]  # fmt: skip

    def test_an_undecided_one_pays_log_two_for_each_kind(self) -> None:
        detector = _small()
        _verdicts_of(detector, 0.0)
        loss = detector.discriminator_loss(Batch(healthy(4)))
        assert loss.total.item() == pytest.approx(0.005 * 2 * 0.693147, rel=1e-5)

    def test_it_moves_no_generator_and_fills_no_queue(self) -> None:
        detector = _small(keeping="queue")
        before = copy(detector.state_dict())
        total = detector.discriminator_loss(Batch(healthy(4))).total
        assert not _reached(total, detector.encoder)
        assert all(torch.equal(v, before[n]) for n, v in detector.state_dict().items())


class TestScore:
    def test_it_rises_as_the_verdict_falls(self) -> None:
        detector, scores = _small(), []
        for verdict in (3.0, 0.0, -3.0):
            _verdicts_of(detector, verdict)
            scores.append(detector.score(healthy(1)).score_N.item())
        # 1 - sigmoid, of mean 0 and deviation 1
        assert scores == pytest.approx([0.047426, 0.5, 0.952574], abs=1e-5)

    def test_the_mean_and_deviation_of_healthy_images_are_learned(self) -> None:
        detector, voxels = _small(), healthy(12)
        detector.settle(batch for batch in torch.split(voxels, 5))
        standard_N = -torch.logit(detector.score(voxels).score_N)
        assert standard_N.mean().item() == pytest.approx(0, abs=1e-3)
        assert standard_N.std(correction=0).item() == pytest.approx(1, abs=1e-3)
        assert {"mean", "deviation"} <= detector.state_dict().keys()

    def test_settling_changes_no_rank(self) -> None:
        detector, voxels = _small(), torch.cat([healthy(6), with_opacity(healthy(6))])
        before = detector.score(voxels).score_N.argsort()
        detector.settle([healthy(8, seed=1)])
        assert torch.equal(detector.score(voxels).score_N.argsort(), before)

    @pytest.mark.parametrize("reading", ["discriminator", "features", "memory", "residual"])
    def test_the_reading_decides_and_the_rest_are_beside_it(self, reading: str) -> None:
        names = {"discriminator", "features", "memory", "residual"}
        anomaly = _small(reading=reading).score(healthy(3))
        assert set(anomaly.others) == names - {reading}
        detector = _small(reading="residual" if reading == "memory" else "memory")
        assert torch.equal(anomaly.score_N, detector.score(healthy(3)).others[reading])

    def test_the_map_is_where_features_differ_from_those_painted(self) -> None:
        detector = _small()
        assert detector.bottleneck is not None
        detector.bottleneck = _Adds(detector.bottleneck, 0)  # type: ignore[assignment]
        anomaly = detector.score(healthy(2))
        assert anomaly.others["features"].abs().max() == 0
        detector.bottleneck = _Adds(detector.bottleneck, 3)  # type: ignore[arg-type, assignment]
        anomaly = detector.score(healthy(2))
        # 3 in each of 8 channels of the upper right one of four patches.
        assert anomaly.others["features"].tolist() == pytest.approx([72**0.5 / 4] * 2)
        assert anomaly.map_NHW is not None
        assert anomaly.map_NHW[:, 0, -1].tolist() == pytest.approx([72**0.5] * 2)
        assert (anomaly.map_NHW[:, 10:] == 0).all()
        assert (anomaly.map_NHW[:, :, :6] == 0).all()

    @pytest.mark.parametrize("keeping", ["learned", "queue"])
    def test_no_mode_lets_scoring_or_watching_change_a_memory(self, keeping: str) -> None:
        detector = _small(keeping=keeping, gumbel=1.0)
        before = copy(detector.state_dict())
        first = detector.train().score(healthy(3)).score_N
        assert detector.training
        assert all(module.training for module in detector.modules())
        assert torch.equal(detector.eval().score(healthy(3)).score_N, first)
        detector.loss(Batch(healthy(3)))
        assert all(torch.equal(v, before[n]) for n, v in detector.state_dict().items())

    @pytest.mark.parametrize(
        ("params", "golden"),
        [
            ({}, [0.5090072, 0.5055466]),
            ({"keeping": "queue", "reading": "features"}, [1.4310802, 1.3692882]),
            ({"reading": "memory", "slots": (12,)}, [0.7239977, 0.6826328]),
        ],
    )
    def test_a_fixed_seed_gives_the_golden_scores(
        self, params: dict[str, object], golden: list[float]
    ) -> None:
        voxels = torch.cat([healthy(1), with_opacity(healthy(1))])
        assert _small(seed=7, **params).score(voxels).score_N.tolist() == pytest.approx(
            golden, rel=1e-4
        )


class TestTheQueue:
    def test_every_memory_takes_in_what_a_training_batch_asked(self) -> None:
        detector = _small(keeping="queue")
        memories = [each for each in detector.modules() if isinstance(each, SpaceMemory)]
        before = [each.slots().clone() for each in memories]
        detector.loss(Batch(healthy(2)))
        assert len(memories) == 5  # three levels, and two of the student's
        for memory, old in zip(memories, before, strict=True):
            assert torch.equal(memory.slots()[:, :-2], old[:, 2:])

    def test_a_killed_run_carried_on_ends_with_the_same_queue(self, tmp_path: Path) -> None:
        images = Images(healthy(16), healthy(8, seed=1))
        plan = Plan(epochs=2, batch_size=8, average=0.9)
        whole, killed = _small(keeping="queue"), _small(keeping="queue")
        fit(whole, images, plan, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            fit(killed, images, plan, tmp_path / "killed", progress=_kill)
        again = _small(seed=3, keeping="queue")
        fit(again, images, plan, tmp_path / "killed", resume=True)
        expected = whole.state_dict()
        assert all(torch.equal(v, expected[n]) for n, v in again.state_dict().items())


class TestAblations:
    @pytest.mark.parametrize(
        ("params", "parts", "others"),
        [
            (
                {"bottleneck": "memory"},
                {"reconstruction", "features", "teacher", "distillation", "adversarial"},
                {"features", "memory", "residual"},
            ),
            (
                {"bottleneck": "plain", "decoder_slots": 0},
                {"reconstruction", "teacher", "distillation", "adversarial"},
                {"residual"},
            ),
            (
                {"generators": "student", "slots": (12,)},
                {"reconstruction", "features", "adversarial"},
                {"features", "memory", "residual"},
            ),
            ({"generators": "teacher"}, {"reconstruction", "adversarial"}, {"residual"}),
        ],
    )
    def test_each_is_a_setting_that_leaves_nothing_untaught(
        self, params: dict[str, object], parts: set[str], others: set[str]
    ) -> None:
        detector = _small(0, **params)
        loss = detector.loss(Batch(healthy(4)))
        assert set(loss.parts) == parts
        untaught = [
            name
            for name, module in detector.named_children()
            for each in module.parameters()
            if torch.autograd.grad(loss.total, each, retain_graph=True, allow_unused=True)[0]
            is None
        ]
        assert untaught == []
        anomaly = detector.score(healthy(2))
        assert set(anomaly.others) == others
        assert anomaly.map_NHW is not None
        assert anomaly.map_NHW.shape == (2, 16, 16)

    def test_the_loss_of_healthy_images_falls_with_training(self, tmp_path: Path) -> None:
        images = Images(healthy(32), healthy(8, seed=1))
        history = fit(_small(), images, Plan(epochs=3, batch_size=16, jitter=0), tmp_path)
        held_out = [epoch.held_out_loss for epoch in history]
        assert held_out[-1] is not None
        assert held_out[0] is not None
        assert held_out[-1] < 0.98 * held_out[0]


class TestSizes:
    def test_the_usual_artifact_is_small(self) -> None:
        assert sum(value.nbytes for value in SimSID().state_dict().values()) < 25_000_000

    def test_the_published_sizes_give_four_by_four_places_a_patch(self) -> None:
        with torch.device("meta"):
            detector = SimSID(
                size_px=128, widths=(64, 128, 256, 512), latent=128, slots=(200,),
                decoder_slots=200,
            )  # fmt: skip
        assert detector.bottleneck is not None
        assert detector.bottleneck.shape == (128, 4, 4)
        sizes = [m.slots().shape for m in detector.modules() if isinstance(m, SpaceMemory)]
        assert sizes == [(4, 200, 2048), (16, 200, 4096), (16, 200, 8192)]

    @pytest.mark.parametrize(
        ("params", "why"),
        [
            ({"grid": 3}, "even"),
            ({"size_px": 20}, "size_px"),
            ({"widths": (8,)}, "widths"),
            ({"heads": 5}, "heads"),
            ({"slots": (4, 4, 4, 4)}, "levels"),
            ({"weights": {"distilation": 1.0}}, "distilation"),
            ({"bottleneck": "plain", "reading": "memory"}, "reading"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, params: dict[str, object], why: str) -> None:
        with pytest.raises(BadParams, match=why):
            _small(0, **params)


def _verdicts_of(detector: SimSID, value: float) -> None:
    """Let the discriminator give every image this logit."""
    last = detector.discriminator[-1]
    with torch.no_grad():
        last.get_parameter("1.weight").zero_()
        last.get_parameter("1.bias").fill_(value)


def _kill(_: object) -> None:
    raise KeyboardInterrupt


class _Adds(nn.Module):
    """In the place of the bottleneck: what came in, and so much more in the second patch."""

    def __init__(self, real: nn.Module, more: float) -> None:
        super().__init__()
        self.real, self.more = real, more

    def forward(self, maps_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        painted_NCHW = maps_NCHW.clone()
        painted_NCHW[1::4] += self.more
        return painted_NCHW, self.real(maps_NCHW)[1]
