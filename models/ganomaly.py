"""GANomaly: encode, decode, encode again; a strange image does not come back to its code.

Source:   Akcay et al. 2018, arXiv:1805.06725, section 3 (eq. 1 to 5) and its public code.
Input:    voxels_NCHW, float32 in [0, 1] as the recipe scales it; C = 1, ``size_px`` square.
Score:    mean squared difference of the two codes; no unit, >= 0, higher is stranger. The map
          is the absolute residual in [-1, 1]; its mean is a second score, ``residual``.
Differs:  GroupNorm instead of BatchNorm throughout, so a score never depends on batch mates, in
          training mode or not; the published level is reached with the test batch's own
          moments, and a drop is accepted. The discriminator's features of the real image carry
          no gradient. The default widths are a quarter of the paper's, which are 64 to 512. The
          epoch is chosen by the reconstruction and the codes of held-out healthy images, and
          scores are not stretched over a test set.
          ``revive`` is the public code's: a discriminator whose loss is below 1e-5 starts anew.

Shapes: N slices, C channels, H W rows and columns, F features.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contract import Anomaly, Batch, Coder, Loss, Player, Stage
from models.parts import SLOPE, double, halve, side_px, to_map, to_vector

BETAS: Final = (0.5, 0.999)
WON: Final = 1e-5
"""A discriminator with a smaller loss teaches nothing any more."""


def _down(widths: Sequence[int]) -> nn.Sequential:
    first = nn.Sequential(nn.Conv2d(1, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(SLOPE))
    return nn.Sequential(first, *(halve(a, b) for a, b in pairwise(widths)))


class GANomaly(Coder):
    """Encoder, decoder, second encoder, and the discriminator that keeps the decoder honest.

    ``size_px`` is divisible by 2 to the number of ``widths``, each width by 8; ``latent`` is the
    features of a code; the weights are those of the three parts of the generator's loss.
    """

    def __init__(  # noqa: PLR0913 - the constructor's keywords are the family's published knobs
        self,
        *,
        size_px: int = 64,
        widths: Sequence[int] = (16, 32, 64, 128),
        latent: int = 100,
        adversarial_weight: float = 1.0,
        contextual_weight: float = 50.0,
        encoder_weight: float = 1.0,
        revive: bool = True,
    ) -> None:
        super().__init__(
            size_px=size_px,
            widths=list(widths),
            latent=latent,
            adversarial_weight=adversarial_weight,
            contextual_weight=contextual_weight,
            encoder_weight=encoder_weight,
            revive=revive,
        )
        side, last = side_px(size_px, widths), widths[-1]
        self.weights = {
            "adversarial": adversarial_weight,
            "contextual": contextual_weight,
            "encoder": encoder_weight,
        }
        self.revive = revive
        self.code_features = latent
        self.encoder = nn.Sequential(_down(widths), to_vector(last, side, latent))
        self.decoder = nn.Sequential(
            to_map(latent, last, side),
            *(double(a, b) for a, b in pairwise(reversed(widths))),
            nn.ConvTranspose2d(widths[0], 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )
        self.again = nn.Sequential(_down(widths), to_vector(last, side, latent))
        self.discriminator = nn.ModuleDict(
            {"features": _down(widths), "verdict": to_vector(last, side, 1)}
        )

    def stages(self) -> tuple[Stage, ...]:
        """Give one stage in which generator and discriminator take turns."""
        generating = (self.encoder, self.decoder, self.again)
        generator = Player(
            "generator", generating, self.loss, optimizer="adam", betas=BETAS, encodes=True
        )
        discriminator = Player(
            "discriminator",
            (self.discriminator,),
            self.discriminator_loss,
            optimizer="adam",
            betas=BETAS,
        )
        return (Stage("train", (generator, discriminator), watch=self._watch),)

    def encode(self, voxels_NCHW: Tensor) -> Tensor:
        """Give the codes (N, F) of the first encoder."""
        found: Tensor = self.encoder(2 * voxels_NCHW - 1)
        return found

    def decode(self, latent_NF: Tensor) -> Tensor:
        """Give the images of the codes, in (0, 1)."""
        found: Tensor = (self.decoder(latent_NF) + 1) / 2
        return found

    def loss(self, batch: Batch) -> Loss:
        """Give what the generator wants: the image, its code and the discriminator's view back."""
        real_NCHW = 2 * batch.voxels_NCHW - 1
        latent_NF = self.encoder(real_NCHW)
        fake_NCHW = self.decoder(latent_NF)
        wanted_NCHW = self.discriminator["features"](real_NCHW).detach()
        parts = {
            "adversarial": F.mse_loss(self.discriminator["features"](fake_NCHW), wanted_NCHW),
            "contextual": F.l1_loss(fake_NCHW, real_NCHW),
            "encoder": F.mse_loss(self.again(fake_NCHW), latent_NF),
        }
        total = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
        return Loss(total=total, parts=parts, latent_NF=latent_NF)

    def discriminator_loss(self, batch: Batch) -> Loss:
        """Give what the discriminator wants: real images told from drawn ones."""
        real_NCHW = 2 * batch.voxels_NCHW - 1
        with torch.no_grad():
            fake_NCHW = self.decoder(self.encoder(real_NCHW))
        told = self._told(real_NCHW, fake_NCHW)
        if self.revive and self.training and told.total.item() < WON:
            self._start_anew()
            told = self._told(real_NCHW, fake_NCHW)
        return told

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        """Score each slice by how far its second code is from its first."""
        real_NCHW = 2 * voxels_NCHW - 1
        latent_NF = self.encoder(real_NCHW)
        fake_NCHW = self.decoder(latent_NF)
        map_NHW = (fake_NCHW - real_NCHW).abs()[:, 0]
        return Anomaly(
            score_N=(self.again(fake_NCHW) - latent_NF).square().mean(1),
            map_NHW=map_NHW,
            others={"residual": map_NHW.mean((1, 2))},
        )

    def _watch(self, batch: Batch) -> Tensor:
        """Give the generator's loss without the part whose measure moves."""
        parts = self.loss(batch).parts
        kept = [self.weights[name] * parts[name] for name in ("contextual", "encoder")]
        return torch.stack(kept).sum()

    def _told(self, real_NCHW: Tensor, fake_NCHW: Tensor) -> Loss:
        parts = {}
        for name, images_NCHW, truth in (("real", real_NCHW, 1.0), ("drawn", fake_NCHW, 0.0)):
            verdict_N1 = self.discriminator["verdict"](self.discriminator["features"](images_NCHW))
            parts[name] = F.binary_cross_entropy_with_logits(
                verdict_N1, torch.full_like(verdict_N1, truth)
            )
        return Loss(total=(parts["real"] + parts["drawn"]) / 2, parts=parts)

    def _start_anew(self) -> None:
        for module in self.discriminator.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.GroupNorm)):
                module.reset_parameters()
