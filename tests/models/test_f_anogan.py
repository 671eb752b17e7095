from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.contract import Batch
from models.f_anogan import FAnoGAN, gradient_penalty
from models.fit import Images, Plan, fit
from tests.models.chests import healthy


def _small(seed: int = 0, **params: object) -> FAnoGAN:
    tiny: dict[str, object] = {"size_px": 16, "widths": (8, 8), "latent": 8, "critic_turns": 2}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FAnoGAN(**(tiny | params))  # type: ignore[arg-type]


class _Linear(nn.Module):
    def __init__(self, slope_CHW: Tensor) -> None:
        super().__init__()
        self.slope_CHW = nn.Parameter(slope_CHW)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return (images_NCHW * self.slope_CHW).sum((1, 2, 3))


class TestGradientPenalty:
    def test_of_a_linear_critic_it_is_the_squared_distance_of_its_slope_from_one(self) -> None:
        slope_CHW = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]])  # length 5, everywhere
        penalty = gradient_penalty(
            _Linear(slope_CHW), torch.rand(6, 1, 2, 2), torch.rand(6, 1, 2, 2)
        )
        assert penalty.item() == pytest.approx((5 - 1) ** 2)
        unit = gradient_penalty(
            _Linear(slope_CHW / 5), torch.rand(6, 1, 2, 2), torch.zeros(6, 1, 2, 2)
        )
        assert unit.item() == pytest.approx(0.0, abs=1e-10)

    def test_it_teaches_the_critic_its_slope(self) -> None:
        critic = _Linear(torch.tensor([[[3.0, 0.0], [0.0, 4.0]]]))
        torch.autograd.backward(
            gradient_penalty(critic, torch.rand(2, 1, 2, 2), torch.rand(2, 1, 2, 2))
        )
        assert critic.slope_CHW.grad is not None
        # d (|s| - 1)^2 / ds = 2 (|s| - 1) s / |s|
        expected = 2 * 4 * torch.tensor([[[3.0, 0.0], [0.0, 4.0]]]) / 5
        assert torch.allclose(critic.slope_CHW.grad, expected)

    def test_it_is_taken_between_the_real_and_the_generated_image(self) -> None:
        places: list[Tensor] = []

        class Watching(_Linear):
            def forward(self, images_NCHW: Tensor) -> Tensor:
                places.append(images_NCHW.detach())
                return super().forward(images_NCHW)

        gradient_penalty(
            Watching(torch.ones(1, 2, 2)), torch.ones(50, 1, 2, 2), torch.zeros(50, 1, 2, 2)
        )
        (place,) = places
        share_N = place[:, 0, 0, 0]
        assert torch.equal(place, share_N[:, None, None, None].expand_as(place))
        assert 0 <= share_N.min() < 0.2 < 0.8 < share_N.max() <= 1


class TestLosses:
    def test_the_critic_wants_real_images_high_and_pays_for_its_slope(self) -> None:
        loss = _small(penalty_weight=3.0).critic_loss(Batch(healthy(4)))
        assert torch.allclose(loss.total, loss.parts["distance"] + 3 * loss.parts["penalty"])

    def test_the_critics_loss_does_not_reach_the_generator(self) -> None:
        detector = _small()
        torch.autograd.backward(detector.critic_loss(Batch(healthy(4))).total)
        assert all(each.grad is None for each in detector.generator.parameters())

    def test_the_encoders_loss_weighs_the_critics_features_by_kappa(self) -> None:
        loss = _small(kappa=0.25).loss(Batch(healthy(4)))
        assert torch.allclose(loss.total, loss.parts["residual"] + 0.25 * loss.parts["features"])

    def test_the_score_is_the_encoders_loss_of_that_image(self) -> None:
        detector, voxels = _small(), healthy(3)
        each = [detector.loss(Batch(one)).total.item() for one in torch.split(voxels, 1)]
        assert detector.score(voxels).score_N.tolist() == pytest.approx(each, rel=1e-5)


class TestStages:
    def test_generator_and_critic_stand_still_while_the_encoder_learns(
        self, tmp_path: Path
    ) -> None:
        detector = _small()
        states: list[dict[str, Tensor]] = [_copied(detector)]
        history = fit(
            detector,
            Images(healthy(8), healthy(4, seed=1)),
            Plan(epochs=1, batch_size=4, average=0, jitter=0),
            tmp_path,
            progress=lambda _: states.append(_copied(detector)),
        )
        assert [epoch.stage for epoch in history] == ["generator", "encoder"]
        start, first, last = states
        for name in start:
            stood, moved = (start, first) if name.startswith("encoder") else (first, last)
            assert torch.equal(stood[name], moved[name]), name
        for name in ("generator.0.0.weight", "critic.maps.0.weight"):
            assert not torch.equal(start[name], first[name]), name
        assert not torch.equal(first["encoder.0.0.weight"], last["encoder.0.0.weight"])

    def test_the_critic_has_more_turns_and_the_encoder_its_own_optimizer(self) -> None:
        (critic, generator), (encoder,) = (stage.players for stage in FAnoGAN().stages())
        assert (critic.every, critic.optimizer, critic.betas) == (1, "adam", (0.0, 0.9))
        assert (generator.every, generator.optimizer) == (5, "adam")
        assert (encoder.optimizer, encoder.encodes) == ("rmsprop", True)


def test_codes_and_images_stay_in_their_ranges() -> None:
    detector = _small()
    latent_NF = detector.encode(healthy(4))
    images_NCHW = detector.decode(5 * torch.randn(4, 8))
    assert latent_NF.abs().max() < 1
    assert 0 <= images_NCHW.min() <= images_NCHW.max() <= 1


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}
