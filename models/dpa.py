"""DPA: an autoencoder that learns and judges by perceptual features instead of pixels.

Source:   Tuluptceva et al. 2020, arXiv:2006.13265, section 3 (relative perceptual L1 loss);
          Zhang et al. 2023, MICCAI, doi 10.1007/978-3-031-43898-1_23, for the code's 128.
Input:    voxels_NCHW, float32 in [0, 1] as the recipe scales it; C = 1, ``size_px`` square.
Score:    mean |f(x) - f(y)| over mean |f(x)|, of standardised features f, averaged over
          ``layers``; no unit, >= 0, higher is stranger. The map is the same, place by place,
          brought to the input's size.
Differs:  ``features`` are ``own`` by default, which learn without labels on the same healthy
          images in a first stage, since they need no file and know the modality; ``vgg19`` is
          the paper's. Their mean and deviation are taken over the healthy training images, not
          ImageNet's; the deviation is the standard deviation that the paper names, although the
          public code's file of moments is named a variance. No progressive growing; GroupNorm
          in the autoencoder; images are compared at ``size_px``, not at 224.

Shapes: N slices, C channels, H W rows and columns, F features.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contract import Anomaly, Batch, Coder, Loss, Player, Stage
from models.features import Moments, OwnFeatures, Vgg19
from models.parts import residual_down, residual_up, side_px, to_map, to_vector


def relative_l1(wanted_NCHW: Tensor, got_NCHW: Tensor) -> Tensor:
    """Give at each place |wanted - got| over the image's mean |wanted|, (N, H, W).

    The divisor carries no gradient.
    """
    size_N = wanted_NCHW.detach().abs().mean((1, 2, 3)).clamp_min(1e-8)
    return (wanted_NCHW - got_NCHW).abs().mean(1) / size_N[:, None, None]


class DPA(Coder):
    """The autoencoder, the features that judge it, and their moments.

    ``size_px`` is divisible by 2 to the number of ``widths``, each width by 8; ``latent`` is the
    features of a code. ``layers`` are of ``half``, ``quarter``, ``eighth`` for own features, of
    ``r32``, ``r42`` for VGG19, whose ``weights`` names a local safetensors file;
    ``weights_sha256`` is found out, and an artifact brings the weights with it.
    """

    def __init__(  # noqa: PLR0913 - the constructor's keywords are the family's published knobs
        self,
        *,
        size_px: int = 64,
        widths: Sequence[int] = (16, 32, 64, 64),
        latent: int = 128,
        features: Literal["own", "vgg19"] = "own",
        layers: Sequence[str] | None = None,
        feature_width: int = 8,
        feature_share: float = 1.0,
        weights: str | None = None,
        weights_sha256: str | None = None,
    ) -> None:
        layers = layers or (("half", "quarter") if features == "own" else ("r32",))
        self.features: OwnFeatures | Vgg19
        side = side_px(size_px, widths)
        super().__init__(
            size_px=size_px,
            widths=list(widths),
            latent=latent,
            features=features,
            layers=list(layers),
            feature_width=feature_width,
            feature_share=feature_share,
            weights=weights,
            weights_sha256=weights_sha256,
        )
        if features == "own":
            self.features = OwnFeatures(layers, feature_width)
        else:
            self.features = Vgg19(layers, Path(weights) if weights else None, weights_sha256)
            self.params["weights_sha256"] = self.features.checksum
        self.moments = nn.ModuleList(Moments(count) for count in self.features.channels)
        self.feature_share = feature_share
        self.code_features = latent
        self.encoder = nn.Sequential(residual_down(widths), to_vector(widths[-1], side, latent))
        self.decoder = nn.Sequential(to_map(latent, widths[-1], side), residual_up(widths))

    def stages(self) -> tuple[Stage, ...]:
        """Give the features' own learning, where they learn, then the autoencoder's."""
        rebuild = Player("autoencoder", (self.encoder, self.decoder), self.loss, encodes=True)
        last = Stage("autoencoder", (rebuild,), watch=lambda batch: self.loss(batch).total)
        if isinstance(self.features, Vgg19):
            return (last,)
        learn = Player("features", (self.features,), self.features.loss)
        first = Stage("features", (learn,), watch=self.features.watch, share=self.feature_share)
        return (first, last)

    def encode(self, voxels_NCHW: Tensor) -> Tensor:
        """Give the codes (N, F)."""
        found: Tensor = self.encoder(2 * voxels_NCHW - 1)
        return found

    def decode(self, latent_NF: Tensor) -> Tensor:
        """Give the images of the codes; values a little outside [0, 1] may occur."""
        found: Tensor = (self.decoder(latent_NF) + 1) / 2
        return found

    def loss(self, batch: Batch) -> Loss:
        """Give the relative perceptual L1 distance of the reconstruction."""
        latent_NF = self.encode(batch.voxels_NCHW)
        gaps = self._gaps(batch.voxels_NCHW, self.decode(latent_NF))
        perceptual = torch.stack([gap_NHW.mean() for gap_NHW in gaps]).mean()
        return Loss(total=perceptual, parts={"perceptual": perceptual}, latent_NF=latent_NF)

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        """Score each slice by how differently its reconstruction looks."""
        rebuilt_NCHW = self.decode(self.encode(voxels_NCHW))
        gaps = self._gaps(voxels_NCHW, rebuilt_NCHW)
        maps = [_enlarged(gap_NHW, voxels_NCHW) for gap_NHW in gaps]
        return Anomaly(
            score_N=torch.stack([gap_NHW.mean((1, 2)) for gap_NHW in gaps]).mean(0),
            map_NHW=torch.stack(maps).mean(0),
            others={"residual": (rebuilt_NCHW - voxels_NCHW).abs().mean((1, 2, 3))},
        )

    def _gaps(self, voxels_NCHW: Tensor, rebuilt_NCHW: Tensor) -> list[Tensor]:
        wanted, got = self.features(voxels_NCHW), self.features(rebuilt_NCHW)
        found = []
        for moments, wanted_NCHW, got_NCHW in zip(self.moments, wanted, got, strict=True):
            if self.training and torch.is_grad_enabled() and isinstance(moments, Moments):
                moments.observe(wanted_NCHW)
            found.append(relative_l1(moments(wanted_NCHW), moments(got_NCHW)))
        return found


def _enlarged(gap_NHW: Tensor, like_NCHW: Tensor) -> Tensor:
    size = list(like_NCHW.shape[-2:])
    return F.interpolate(gap_NHW[:, None], size, mode="bilinear", align_corners=False)[:, 0]
