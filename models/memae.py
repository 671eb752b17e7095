"""MemAE: an autoencoder that may only rebuild an image from a few stored healthy patterns.

Source:   Gong et al. 2019, arXiv:1904.02639, sections 3.2 to 3.4 (memory, shrinkage, losses).
Input:    voxels_NCHW, float32 in [0, 1] as the recipe scales it; C = 1, ``size_px`` square.
Score:    mean of the squared residual as ``reading`` sees it; no unit, >= 0, higher is stranger.
Differs:  GroupNorm instead of BatchNorm, so a score never depends on batch mates; ``address``
          is the paper's ``cosine``, with a learned scale, because a softmax over bare cosines
          is nearly even, or the public code's ``dot`` product, without one; the shrinkage
          threshold is given in units of 1/M, since at a fixed one a larger memory is shrunk to
          nothing: the public code's 2000 slots at 0.0025 are ``shrink`` 5; ``memory`` chooses
          one code a place of the last feature map (the paper's) or one code an image;
          ``reading`` names how the residual is looked at, the paper's being ``mse``;
          ``relative`` divides the map by what healthy images leave at that pixel; ``margin``
          keeps the rim, with its markers and collimator, out of the score, not of the map.
Code:     what asks the memory, before it does; of ``position`` memory all places, in rows.

Shapes: N slices, C channels, H W rows and columns, P places, F features, M memory slots.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contract import Anomaly, Batch, Coder, Loss
from models.parts import double, halve, side_px, to_map, to_vector

Address = Literal["cosine", "dot"]
SCALE: Final = 8.0
"""Where the learned scale of the cosine addresses starts."""


def _squares(residual_NCHW: Tensor) -> Tensor:
    return residual_NCHW.square()


def _blurred(residual_NCHW: Tensor, width_px: int) -> Tensor:
    pad = width_px // 2
    padded = F.pad(residual_NCHW, (pad, pad, pad, pad), mode="replicate")
    return F.avg_pool2d(padded, width_px, stride=1)


def _smooth(residual_NCHW: Tensor) -> Tensor:
    """Squares of the residual blurred over a seventh of the width.

    Thin edges a pixel off cancel, an opacity does not.
    """
    return _blurred(residual_NCHW, residual_NCHW.shape[-1] // 7 | 1).square()


def _multi_scale(residual_NCHW: Tensor) -> Tensor:
    """Mean of squares at four widths of blur, each times its width, so that none drowns."""
    widths = (1, 3, 5, 9)
    return torch.stack([k * _blurred(residual_NCHW, k).square() for k in widths]).mean(0)


def _gradient(residual_NCHW: Tensor) -> Tensor:
    """Squares of the residual's slope along rows and columns."""
    down = F.pad(residual_NCHW.diff(dim=-2), (0, 0, 0, 1))
    right = F.pad(residual_NCHW.diff(dim=-1), (0, 1, 0, 0))
    return down.square() + right.square()


READINGS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "mse": _squares,
    "smooth": _smooth,
    "multi_scale": _multi_scale,
    "gradient": _gradient,
}
"""By name: from the residual to a map >= 0 of the same size."""


def hard_shrink(weight_PM: Tensor, threshold: float) -> Tensor:
    """Drop the weights at or below the threshold and let the rest sum to 1 again."""
    over_PM = weight_PM - threshold
    kept_PM = F.relu(over_PM) * weight_PM / (over_PM.abs() + 1e-12)
    return kept_PM / kept_PM.sum(1, keepdim=True).clamp_min(1e-12)


def entropy(address_PM: Tensor) -> Tensor:
    """Give the mean entropy of the addresses, in nats: small when few slots are used."""
    return -(address_PM * (address_PM + 1e-12).log()).sum(1).mean()


class Memory(nn.Module):
    """M slots of F features; a query leaves it as a mixture of the few slots most like it."""

    def __init__(
        self, slots: int, features: int, shrink: float, address: Address = "cosine"
    ) -> None:
        super().__init__()
        self.slots_MF = nn.Parameter(torch.randn(slots, features) / features**0.5)
        self.scale = nn.Parameter(torch.tensor(SCALE)) if address == "cosine" else None
        self.threshold = shrink / slots

    def forward(self, query_PF: Tensor) -> tuple[Tensor, Tensor]:
        """Give the recalled codes (P, F) and their addresses (P, M), whose rows sum to 1."""
        address_PM = hard_shrink(self._likeness(query_PF).softmax(1), self.threshold)
        return address_PM @ self.slots_MF, address_PM

    def _likeness(self, query_PF: Tensor) -> Tensor:
        if self.scale is None:
            return query_PF @ self.slots_MF.T
        alike_PM = F.normalize(query_PF, dim=1) @ F.normalize(self.slots_MF, dim=1).T
        return self.scale * alike_PM


class MemAE(Coder):
    """The autoencoder and its memory.

    ``size_px`` is divisible by 2 to the number of ``widths``, each width by 8; ``latent`` is
    the features of a slot, ``shrink`` the threshold in units of 1/slots, 1 to 3, and ``margin``
    the share of the width left out at each side.
    """

    healthy_HW: Tensor

    def __init__(  # noqa: PLR0913 - the constructor's keywords are the family's published knobs
        self,
        *,
        size_px: int = 64,
        widths: Sequence[int] = (16, 32, 64, 64),
        memory: Literal["position", "vector"] = "position",
        slots: int = 256,
        latent: int = 16,
        shrink: float = 1.0,
        address: Address = "cosine",
        entropy_weight: float = 2e-4,
        reading: str = "mse",
        relative: bool = False,
        margin: float = 0.0,
    ) -> None:
        super().__init__(
            size_px=size_px,
            widths=list(widths),
            memory=memory,
            slots=slots,
            latent=latent,
            shrink=shrink,
            address=address,
            entropy_weight=entropy_weight,
            reading=reading,
            relative=relative,
            margin=margin,
        )
        self.read = READINGS[reading]
        self.entropy_weight = entropy_weight
        self.relative = relative
        rim_px = int(margin * size_px)
        self.inner = slice(rim_px, size_px - rim_px)
        side, last = side_px(size_px, widths), widths[-1]
        up = (*reversed(widths), widths[0])
        self.encoder = nn.Sequential(*(halve(a, b) for a, b in pairwise((1, *widths))))
        self.squeeze: nn.Module
        self.expand: nn.Module
        if memory == "vector":
            self.code = torch.Size((latent,))
            self.squeeze, self.expand = to_vector(last, side, latent), to_map(latent, last, side)
        else:
            self.code = torch.Size((latent, side, side))
            self.squeeze, self.expand = nn.Conv2d(last, latent, 1), nn.Conv2d(latent, last, 1)
        self.code_features = self.code.numel()
        self.memory = Memory(slots, latent, shrink, address)
        self.decoder = nn.Sequential(
            *(double(a, b) for a, b in pairwise(up)), nn.Conv2d(widths[0], 1, 3, padding=1)
        )
        self.register_buffer("healthy_HW", torch.ones(size_px, size_px))

    def encode(self, voxels_NCHW: Tensor) -> Tensor:
        """Give the codes (N, F) before the memory, all places of one in rows."""
        code: Tensor = self.squeeze(self.encoder(voxels_NCHW))
        return code.flatten(1)

    def decode(self, latent_NF: Tensor) -> Tensor:
        """Give the images that the memory makes of the codes."""
        return self._recall(latent_NF)[0]

    def rebuild(self, voxels_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Give the reconstruction (N, 1, H, W) and the memory's addresses (P, M)."""
        return self._recall(self.encode(voxels_NCHW))

    def loss(self, batch: Batch) -> Loss:
        """Give the squared error of the reconstruction plus the weighted address entropy."""
        latent_NF = self.encode(batch.voxels_NCHW)
        rebuilt_NCHW, address_PM = self._recall(latent_NF)
        parts = {
            "reconstruction": F.mse_loss(rebuilt_NCHW, batch.voxels_NCHW),
            "entropy": entropy(address_PM),
        }
        total = parts["reconstruction"] + self.entropy_weight * parts["entropy"]
        return Loss(total=total, parts=parts, latent_NF=latent_NF)

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        """Score each slice by its own residual; the map has the input's resolution."""
        map_NHW = self._residue(voxels_NCHW) / self.healthy_HW
        return Anomaly(score_N=map_NHW[:, self.inner, self.inner].mean((1, 2)), map_NHW=map_NHW)

    @torch.no_grad()
    def settle(self, batches: Iterable[Tensor]) -> None:
        """Learn what residual healthy images leave at each pixel; no-op unless ``relative``."""
        if not self.relative:
            return
        residues_NHW = torch.cat([self._residue(voxels_NCHW) for voxels_NCHW in batches])
        healthy_HW = residues_NHW.mean(0)
        self.healthy_HW = _blurred(healthy_HW[None, None], 5)[0, 0].clamp_min(1e-6)

    def _recall(self, latent_NF: Tensor) -> tuple[Tensor, Tensor]:
        code = latent_NF.reshape(-1, *self.code)
        last = code.movedim(1, -1)
        recalled_PF, address_PM = self.memory(last.reshape(-1, last.shape[-1]))
        recalled = recalled_PF.reshape(last.shape).movedim(-1, 1)
        return self.decoder(self.expand(recalled)), address_PM

    def _residue(self, voxels_NCHW: Tensor) -> Tensor:
        rebuilt_NCHW, _ = self.rebuild(voxels_NCHW)
        return self.read(rebuilt_NCHW - voxels_NCHW)[:, 0]
