"""Anchor: features that no label taught, frozen, and how far an image's lie from healthy ones.

Source:   He et al. 2022, arXiv:2111.06377 (masked autoencoder) for the encoder; Defard et al.
          2020, arXiv:2011.08785 (PaDiM); Roth et al. 2022, arXiv:2106.08265 (PatchCore); Rippel et
          al. 2020, arXiv:2005.14140 (a Gaussian over whole images).
Input:    voxels_NCHW, float32 in [0, 1] as the recipe scales it; C = 1, ``size_px`` square.
Score:    of the first of ``heads``, the others beside it; ``padim`` and ``nearest`` give the mean
          over the ``top`` share of their map's places inside the ``margin``, ``density`` one
          distance of the whole image. No unit, about 1 for healthy images, higher is stranger.
Differs:  the encoder is convolutional and learns on the images of the training file alone, by
          filling in masked cells. Masked, not contrastive: a contrastive loss needs views that
          change the grey and the sharpness of an image and teaches to overlook exactly that, which
          is what an opacity changes; it needs large batches; and it says one thing of an image,
          where a masked cell is a question of its own at each place, so that hundreds of images
          are many answers. Beside the encoder's two last levels stand mean, contrast and slope of
          the image's own grey in each place, which no encoder need keep. The encoder may come from
          a file instead: ``masked`` from another anchor's artifact, or a ``vit`` of DINOv2's
          layout, whose features are then squeezed by a linear autoencoder.

Shapes: N slices, C channels, H W rows and columns, P places in rows, F features.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.anchor_heads import Density, Nearest, Padim
from models.contract import Anomaly, BadParams, Batch, Detector, Loss, Player, Stage
from models.encoders import CELL_PX, MaskedEncoder, Vit, checked

HEADS: Final = ("padim", "nearest", "density")
PLAIN: Final = 3
"""Features of the image's own grey at a place."""
LIMIT: Final = 2048
"""Healthy images that the heads are fitted to; of more, evenly chosen ones."""


class Anchor(Detector):
    """The frozen encoder and the heads that measure.

    ``size_px`` is divisible by 8. ``widths`` are the masked encoder's, three, each divisible by 8;
    ``masked`` is the share of cells that it does not see. ``slots`` and ``place_weight`` are the
    nearest head's. ``weights`` names a local safetensors file of the encoder; ``squeeze`` is how
    many features are made of a file's. ``weights_sha256`` and ``vit`` are found out.

    Raises:
        BadParams: a size does not divide, a head is unknown, or the file is not what it must be.
    """

    centre_F: Tensor
    scale_F: Tensor

    def __init__(  # noqa: PLR0913 - the constructor's keywords are the family's knobs
        self,
        *,
        size_px: int = 64,
        encoder: Literal["masked", "vit"] = "masked",
        widths: Sequence[int] = (16, 32, 32),
        masked: float = 0.5,
        heads: Sequence[str] = ("padim", "nearest", "density"),
        slots: int = 1000,
        place_weight: float = 0.5,
        top: float = 0.25,
        margin: float = 0.1,
        squeeze: int = 64,
        weights: str | None = None,
        weights_sha256: str | None = None,
        vit: dict[str, int] | None = None,
    ) -> None:
        super().__init__(
            size_px=size_px,
            encoder=encoder,
            widths=list(widths),
            masked=masked,
            heads=list(heads),
            slots=slots,
            place_weight=place_weight,
            top=top,
            margin=margin,
            squeeze=squeeze,
            weights=weights,
            weights_sha256=weights_sha256,
            vit=vit,
        )
        _refuse(size_px, heads, top, margin)
        self.is_from_file = encoder == "vit" or weights is not None or weights_sha256 is not None
        self.encoder = self._encoder(encoder, Path(weights) if weights else None)
        self.side = size_px // 4 if encoder == "masked" else size_px // CELL_PX
        inside = self.encoder.features
        features = PLAIN + (squeeze if self.is_from_file else inside)
        if self.is_from_file:
            self.encoder.requires_grad_(requires_grad=False)
            self.squeeze, self.expand = nn.Linear(inside, squeeze), nn.Linear(squeeze, inside)
        self.top = top
        rim = int(margin * self.side)
        self.inner = slice(rim, self.side - rim)
        built: dict[str, nn.Module] = {
            "padim": Padim(self.side**2, features),
            "nearest": Nearest(self.side**2, features, slots, place_weight),
            "density": Density(features),
        }
        self.heads = nn.ModuleDict({name: built[name] for name in heads})
        self.register_buffer("centre_F", torch.zeros(features))
        self.register_buffer("scale_F", torch.ones(features))

    def stages(self) -> tuple[Stage, ...]:
        """Give the encoder's learning, or, of one from a file, the squeezing of its features."""
        modules: tuple[nn.Module, ...] = (self.encoder,)
        if self.is_from_file:
            modules = (self.squeeze, self.expand)
        name = "squeeze" if self.is_from_file else "encoder"
        return (Stage(name, (Player(name, modules, self.loss),), watch=self._watch),)

    def loss(self, batch: Batch) -> Loss:
        """Give how badly masked cells are filled in, or features restored."""
        return self._loss(batch, None)

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        """Score each slice by each head; the map is of the first head that draws one."""
        features_NPF = self._standard(self._features(voxels_NCHW))
        scores, map_NHW = {}, None
        for name, head in self.heads.items():
            found: Tensor = head(features_NPF)
            if found.dim() == 1:
                scores[name] = found
                continue
            places_NHW = found.reshape(-1, self.side, self.side)
            scores[name] = _top(places_NHW[:, self.inner, self.inner], self.top)
            map_NHW = _enlarged(places_NHW, voxels_NCHW) if map_NHW is None else map_NHW
        first, *rest = scores
        return Anomaly(scores[first], map_NHW, others={name: scores[name] for name in rest})

    @torch.inference_mode()
    def describe(self, voxels_NCHW: Tensor) -> Tensor:
        """Give the frozen features, each the mean over a sixteenth of the image."""
        features_NPF = self._standard(self._features(voxels_NCHW))
        count, _, features = features_NPF.shape
        map_NFHW = features_NPF.transpose(1, 2).reshape(count, features, self.side, self.side)
        return F.adaptive_avg_pool2d(map_NFHW, 4).flatten(1)

    @torch.no_grad()
    def settle(self, batches: Iterable[Tensor]) -> None:
        """Fit the heads to the features of healthy images."""
        features_NPF = torch.cat([self._features(voxels_NCHW) for voxels_NCHW in batches])
        # Whole in memory: sums over every n-th would take another way to the last bit.
        features_NPF = features_NPF[:: max(1, -(-len(features_NPF) // LIMIT))].contiguous()
        self.centre_F = features_NPF.mean((0, 1))
        scale_F = features_NPF.std((0, 1))
        # What hardly ever varies would else make any change of it look enormous.
        self.scale_F = scale_F.clamp_min(float(1e-2 * scale_F.median())).clamp_min(1e-6)
        standard_NPF = self._standard(features_NPF)
        for head in self.heads.values():
            assert isinstance(head, Padim | Nearest | Density)  # noqa: S101 - a ModuleDict forgets
            head.fit(standard_NPF)

    def _encoder(self, kind: str, weights: Path | None) -> "MaskedEncoder | Vit":
        known = self.params["weights_sha256"]
        if kind == "masked":
            encoder = MaskedEncoder(self.params["widths"], self.params["masked"])
            if weights and known is None:
                self.params["weights_sha256"] = encoder.read(weights)
            return encoder
        if kind != "vit":
            msg = f"encoder {kind!r} is neither masked nor vit"
            raise BadParams(msg)
        found = Vit(weights, self.params["vit"] if known else None)
        self.params["vit"], self.params["weights_sha256"] = found.shape, found.checksum or known
        return found

    def _loss(self, batch: Batch, generator: torch.Generator | None) -> Loss:
        if not self.is_from_file:
            assert isinstance(self.encoder, MaskedEncoder)  # noqa: S101 - only a file brings others
            filled = self.encoder.loss(batch.voxels_NCHW, generator)
            return Loss(total=filled, parts={"masked": filled})
        found_NPF = self._encoded(batch.voxels_NCHW)
        again_NPF = self.expand(self.squeeze(found_NPF))
        lost = F.mse_loss(again_NPF, found_NPF) / found_NPF.var().clamp_min(1e-6)
        return Loss(total=lost, parts={"squeeze": lost})

    def _watch(self, batch: Batch) -> Tensor:
        return self._loss(batch, torch.Generator().manual_seed(0)).total

    def _encoded(self, voxels_NCHW: Tensor) -> Tensor:
        if self.is_from_file:
            with torch.no_grad():
                frozen_NPF: Tensor = self.encoder(voxels_NCHW, self.side).float()
            return frozen_NPF
        found_NPF: Tensor = self.encoder(voxels_NCHW, self.side)
        return found_NPF

    def _features(self, voxels_NCHW: Tensor) -> Tensor:
        encoded_NPF = self._encoded(voxels_NCHW)
        if self.is_from_file:
            encoded_NPF = self.squeeze(encoded_NPF)
        return torch.cat([_plain(voxels_NCHW, self.side), encoded_NPF], 2)

    def _standard(self, features_NPF: Tensor) -> Tensor:
        return (features_NPF - self.centre_F) / self.scale_F


def _refuse(size_px: int, heads: Sequence[str], top: float, margin: float) -> None:
    if size_px % CELL_PX:
        msg = f"size_px {size_px} must be divisible by {CELL_PX}"
        raise BadParams(msg)
    if not heads or len(set(heads)) < len(heads) or set(heads) - set(HEADS):
        msg = f"heads {list(heads)} must be some of {', '.join(HEADS)}, each once"
        raise BadParams(msg)
    checked("top", top, low=0, high=1)
    checked("margin", margin, low=-1e-9, high=0.49)


def _plain(voxels_NCHW: Tensor, side: int) -> Tensor:
    """Give mean, deviation and mean slope of the grey in each place, (N, P, 3)."""
    step = voxels_NCHW.shape[-1] // side
    mean = F.avg_pool2d(voxels_NCHW, step)
    square = F.avg_pool2d(voxels_NCHW.square(), step)
    down = F.pad(voxels_NCHW.diff(dim=2), (0, 0, 0, 1)).abs()
    across = F.pad(voxels_NCHW.diff(dim=3), (0, 1, 0, 0)).abs()
    spread = (square - mean.square()).clamp_min(0).sqrt()
    found_NCHW = torch.cat([mean, spread, F.avg_pool2d(down + across, step)], 1)
    return found_NCHW.flatten(2).transpose(1, 2)


def _top(places_NHW: Tensor, share: float) -> Tensor:
    flat_NP = places_NHW.flatten(1)
    return flat_NP.topk(max(1, round(share * flat_NP.shape[1]))).values.mean(1)


def _enlarged(map_NHW: Tensor, like_NCHW: Tensor) -> Tensor:
    size = list(like_NCHW.shape[-2:])
    return F.interpolate(map_NHW[:, None], size, mode="bilinear", align_corners=False)[:, 0]
