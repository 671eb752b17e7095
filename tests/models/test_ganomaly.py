import math

import pytest
import torch
from torch import Tensor

from models.contract import Batch
from models.ganomaly import GANomaly
from tests.models.chests import healthy


def _small(seed: int = 0, **params: object) -> GANomaly:
    tiny: dict[str, object] = {"size_px": 16, "widths": (8, 8), "latent": 8}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GANomaly(**(tiny | params))  # type: ignore[arg-type]


def _verdicts_of(detector: GANomaly, value: float) -> None:
    """Let the discriminator give every image this logit."""
    with torch.no_grad():
        detector.discriminator.get_parameter("verdict.1.weight").zero_()
        detector.discriminator.get_parameter("verdict.1.bias").fill_(value)


class TestTheGeneratorsLoss:
    def test_its_parts_are_weighed_one_fifty_one(self) -> None:
        loss = _small().loss(Batch(healthy(4)))
        parts = loss.parts
        expected = parts["adversarial"] + 50 * parts["contextual"] + parts["encoder"]
        assert torch.allclose(loss.total, expected)

    def test_what_the_discriminator_sees_of_the_real_image_carries_no_gradient(self) -> None:
        detector = _small()
        voxels = healthy(4).requires_grad_()
        with torch.no_grad():
            fake = detector.decoder(detector.encoder(2 * voxels - 1))
        # With a drawn image that hangs on nothing, nothing is left to take a gradient from.
        detector.decoder = _Gives(fake)  # type: ignore[assignment]
        part = detector.loss(Batch(voxels)).parts["adversarial"]
        (found,) = torch.autograd.grad(part, voxels, allow_unused=True)
        assert found is None

    def test_the_watched_loss_leaves_the_discriminators_view_out(self) -> None:
        detector = _small()
        (stage,) = detector.stages()
        assert stage.watch is not None
        parts = detector.loss(Batch(healthy(4))).parts
        watched = stage.watch(Batch(healthy(4)))
        assert torch.allclose(watched, 50 * parts["contextual"] + parts["encoder"])


class TestTheDiscriminatorsLoss:
    def test_an_undecided_one_pays_log_two(self) -> None:
        detector = _small()
        _verdicts_of(detector, 0.0)
        loss = detector.discriminator_loss(Batch(healthy(4)))
        assert loss.total.item() == pytest.approx(math.log(2))

    def test_it_does_not_reach_the_generator(self) -> None:
        detector = _small()
        torch.autograd.backward(detector.discriminator_loss(Batch(healthy(4))).total)
        for part in (detector.encoder, detector.decoder, detector.again):
            assert all(each.grad is None for each in part.parameters())

    @pytest.mark.parametrize("revive", [True, False])
    def test_one_that_has_won_starts_anew_where_that_is_wanted(
        self, revive: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("models.ganomaly.WON", 10.0)
        detector = _small(revive=revive)
        before = detector.discriminator.state_dict()["verdict.1.weight"].clone()
        loss = detector.discriminator_loss(Batch(healthy(4)))
        torch.autograd.backward(loss.total)  # of the new weights, whole and finite
        after = detector.discriminator.state_dict()["verdict.1.weight"]
        assert torch.equal(before, after) is not revive

    def test_one_that_is_only_watched_does_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("models.ganomaly.WON", 10.0)
        detector = _small().eval()
        before = detector.discriminator.state_dict()["verdict.1.weight"].clone()
        detector.discriminator_loss(Batch(healthy(4)))
        assert torch.equal(before, detector.discriminator.state_dict()["verdict.1.weight"])


class TestScore:
    def test_it_is_the_mean_squared_distance_of_the_two_codes(self) -> None:
        detector, voxels = _small(), healthy(3)
        anomaly = detector.score(voxels)
        with torch.no_grad():
            first = detector.encode(voxels)
            second = detector.again(2 * detector.decode(first) - 1)
        assert torch.allclose(anomaly.score_N, (first - second).square().mean(1), rtol=1e-4)

    def test_the_residual_is_a_second_score_and_the_map(self) -> None:
        anomaly = _small().score(healthy(3))
        assert anomaly.map_NHW is not None
        assert torch.allclose(anomaly.others["residual"], anomaly.map_NHW.mean((1, 2)))


class _Gives(torch.nn.Module):
    def __init__(self, images_NCHW: Tensor) -> None:
        super().__init__()
        self.images_NCHW = images_NCHW

    def forward(self, latent_NF: Tensor) -> Tensor:
        return self.images_NCHW
