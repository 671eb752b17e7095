"""f-AnoGAN: a generator of healthy images, and an encoder that finds an image's place in it.

Source:   Schlegl et al. 2019, Medical Image Analysis 54, sections 2.1 to 2.3 (izi_f, eq. 3, 4);
          Gulrajani et al. 2017, arXiv:1704.00028, algorithm 1 (WGAN with gradient penalty).
Input:    voxels_NCHW, float32 in [0, 1] as the recipe scales it; C = 1, ``size_px`` square.
Score:    mean squared residual in [-1, 1] plus ``kappa`` times the mean squared difference of
          the critic's last convolution; no unit, >= 0, higher is stranger. The map is the
          squared residual.
Differs:  GroupNorm instead of BatchNorm in the generator, so nothing depends on batch mates; in
          the critic LayerNorm, one gain a channel; one rectifier more before the critic's last
          layer, which has no bias; the default widths are below the paper's 64 to 512; sides
          are halved once a width, whatever the size. The encoder's tanh is kept, although the
          generator learns from normal noise, which it cannot wholly reach.
Code:     the encoder's, so what constrains codes acts in the second stage alone, through a
          generator that no longer moves.

Shapes: N slices, C channels, H W rows and columns, F features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.contract import Anomaly, Batch, Coder, Loss, Player, Stage
from models.parts import SLOPE, residual_down, residual_up, side_px, to_map, to_vector

BETAS = (0.0, 0.9)


class Critic(nn.Module):
    """Says how real an image looks: no bound, no sigmoid."""

    def __init__(self, widths: Sequence[int], side: int) -> None:
        super().__init__()
        self.maps = residual_down(widths, groups=1)
        self.verdict = nn.Sequential(
            nn.LeakyReLU(SLOPE), nn.Flatten(), nn.Linear(widths[-1] * side**2, 1, bias=False)
        )

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Give the verdicts (N,)."""
        verdict_N1: Tensor = self.verdict(self.maps(images_NCHW))
        return verdict_N1[:, 0]


def gradient_penalty(critic: nn.Module, real_NCHW: Tensor, fake_NCHW: Tensor) -> Tensor:
    """Give the mean of (|gradient of the critic| - 1)^2 between real and generated images."""
    place_N = torch.rand(len(real_NCHW)).to(real_NCHW)
    between_NCHW = torch.lerp(fake_NCHW, real_NCHW, place_N[:, None, None, None])
    between_NCHW = between_NCHW.detach().requires_grad_()
    # Gradients of gradients need full precision.
    with torch.autocast(between_NCHW.device.type, enabled=False):
        verdict = critic(between_NCHW).sum()
        (slope_NCHW,) = torch.autograd.grad(verdict, between_NCHW, create_graph=True)
    steep_N: Tensor = slope_NCHW.flatten(1).square().sum(1).sqrt()
    return (steep_N - 1).square().mean()


class FAnoGAN(Coder):
    """Generator, critic and encoder.

    ``size_px`` is divisible by 2 to the number of ``widths``, each width by 8; ``latent`` is the
    features of a code; the critic has ``critic_turns``, each on a new batch, for one of the
    generator; ``generator_share`` and ``encoder_share`` are the stages' epochs as
    multiples of the plan's.
    """

    def __init__(  # noqa: PLR0913 - the constructor's keywords are the family's published knobs
        self,
        *,
        size_px: int = 64,
        widths: Sequence[int] = (16, 32, 64, 128),
        latent: int = 128,
        kappa: float = 1.0,
        critic_turns: int = 5,
        penalty_weight: float = 10.0,
        encoder_rate: float = 0.5,
        generator_share: float = 1.0,
        encoder_share: float = 1.0,
    ) -> None:
        super().__init__(
            size_px=size_px,
            widths=list(widths),
            latent=latent,
            kappa=kappa,
            critic_turns=critic_turns,
            penalty_weight=penalty_weight,
            encoder_rate=encoder_rate,
            generator_share=generator_share,
            encoder_share=encoder_share,
        )
        side = side_px(size_px, widths)
        self.kappa, self.penalty_weight = kappa, penalty_weight
        self.critic_turns, self.encoder_rate = critic_turns, encoder_rate
        self.shares = generator_share, encoder_share
        self.code_features = latent
        self.generator = nn.Sequential(
            to_map(latent, widths[-1], side), residual_up(widths), nn.Tanh()
        )
        self.critic = Critic(widths, side)
        self.encoder = nn.Sequential(
            residual_down(widths, groups=1),
            nn.LeakyReLU(SLOPE),
            to_vector(widths[-1], side, latent),
            nn.Tanh(),
        )

    def stages(self) -> tuple[Stage, ...]:
        """Give the contest of critic and generator, then the encoder's learning."""
        critic = Player("critic", (self.critic,), self.critic_loss, optimizer="adam", betas=BETAS)
        generator = Player(
            "generator",
            (self.generator,),
            self.generator_loss,
            every=self.critic_turns,
            optimizer="adam",
            betas=BETAS,
        )
        encoder = Player(
            "encoder",
            (self.encoder,),
            self.loss,
            optimizer="rmsprop",
            rate=self.encoder_rate,
            encodes=True,
        )
        return (
            Stage("generator", (critic, generator), watch=None, share=self.shares[0]),
            Stage("encoder", (encoder,), lambda batch: self.loss(batch).total, self.shares[1]),
        )

    def critic_loss(self, batch: Batch) -> Loss:
        """Give what the critic wants: real images high, generated ones low, its slope near 1."""
        real_NCHW = 2 * batch.voxels_NCHW - 1
        with torch.no_grad():
            fake_NCHW = self._generated(batch)
        parts = {
            "distance": (self.critic(fake_NCHW) - self.critic(real_NCHW)).mean(),
            "penalty": gradient_penalty(self.critic, real_NCHW, fake_NCHW.float()),
        }
        return Loss(total=parts["distance"] + self.penalty_weight * parts["penalty"], parts=parts)

    def generator_loss(self, batch: Batch) -> Loss:
        """Give what the generator wants: its images taken for real."""
        verdict = -self.critic(self._generated(batch)).mean()
        return Loss(total=verdict, parts={"verdict": verdict})

    def encode(self, voxels_NCHW: Tensor) -> Tensor:
        """Give the codes (N, F), in (-1, 1)."""
        found: Tensor = self.encoder(2 * voxels_NCHW - 1)
        return found

    def decode(self, latent_NF: Tensor) -> Tensor:
        """Give the generator's images of the codes, in (0, 1)."""
        found: Tensor = (self.generator(latent_NF) + 1) / 2
        return found

    def loss(self, batch: Batch) -> Loss:
        """Give what the encoder wants: the same image drawn again, in the critic's eyes too."""
        latent_NF = self.encode(batch.voxels_NCHW)
        pixels_NHW, seen_N = self._gaps(batch.voxels_NCHW, self.decode(latent_NF))
        parts = {"residual": pixels_NHW.mean(), "features": seen_N.mean()}
        total = parts["residual"] + self.kappa * parts["features"]
        return Loss(total=total, parts=parts, latent_NF=latent_NF)

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        """Score each slice by what the generator cannot draw."""
        pixels_NHW, seen_N = self._gaps(voxels_NCHW, self.decode(self.encode(voxels_NCHW)))
        residual_N = pixels_NHW.mean((1, 2))
        return Anomaly(
            score_N=residual_N + self.kappa * seen_N,
            map_NHW=pixels_NHW,
            others={"residual": residual_N, "features": seen_N},
        )

    def _generated(self, batch: Batch) -> Tensor:
        # Drawn on the CPU, so that every device sees the same noise.
        noise_NF = torch.randn(len(batch.voxels_NCHW), self.code_features)
        found: Tensor = self.generator(noise_NF.to(batch.voxels_NCHW))
        return found

    def _gaps(self, voxels_NCHW: Tensor, rebuilt_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Give the squared residual (N, H, W) and the critic's mean squared difference (N,)."""
        wanted_NCHW, got_NCHW = 2 * voxels_NCHW - 1, 2 * rebuilt_NCHW - 1
        seen_NCHW = self.critic.maps(wanted_NCHW) - self.critic.maps(got_NCHW)
        return (wanted_NCHW - got_NCHW).square()[:, 0], seen_NCHW.square().mean((1, 2, 3))
