"""MAMA Net: attention in place of convolutions, and a hashed memory between the two halves.

Source:   Chen et al. 2021, IEEE TMI, doi 10.1109/TMI.2020.3045295, section III (blocks, memory,
          loss, eq. 1 to 13) and IV-A (sizes). No code was ever published: what the paper leaves
          open is read here, and named here, in ``models.attention`` and ``models.hash_memory``.
Input:    voxels_NCHW, float32 in [0, 1] as the recipe scales it; C = 1, ``size_px`` square.
Score:    mean squared residual; no unit, >= 0, higher is stranger. The map is the squared
          residual; ``others["peak"]`` is the 99.5th percentile of the map blurred over 5 pixels.
Differs:  ``memory`` holds one code a place of the last map (``position``), since 2000 whole maps
          fill 3.4 GB; ``image`` holds whole maps of 16 channels, ``bank`` unlearned codes of
          places. ``skips`` ``faithful`` leads the last map, through the semantic basis, and the
          second map around the memory as the paper does; ``strict``, the default, makes the
          basis of what the memory gave and leaves the other out, so that nothing strange gets
          by. ``attention`` ``pooled`` is eq. 4 over few tokens, ``channel`` what its name says.
          The Wasserstein distance of eq. 12 is taken between the intensities of an image and
          its reconstruction, exactly and without a critic. One channel instead of three alike.
          Without ``basis`` or with ``wasserstein_weight`` 0 it is what the paper's ablations are.
          A bit that lies on its edge may fall either way where sums are rounded otherwise, and
          the last digit of a convolution depends on the batch: so the CPU encodes each image by
          itself when it scores. Another device may still choose another slot now and then.

Shapes: N slices, C channels, H W rows and columns, P places, F features, M memory slots.
"""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import PATCH_PX, TOKENS, AttentionBlock, Kind
from models.contract import Anomaly, BadParams, Batch, Detector, Loss
from models.hash_memory import FEW, Address, Bank, HashMemory
from models.parts import GROUPS

LEVELS: Final = 3
IMAGE_CHANNELS: Final = 16
"""Of the maps that an ``image`` memory holds."""
PEAK: Final = 0.995
BLUR_PX: Final = 5
SWITCHES: Final = {
    "attention": ("pooled", "channel"),
    "memory": ("position", "image", "bank"),
    "address": ("hard", "soft"),
    "skips": ("faithful", "strict"),
}


def wasserstein(one_NCHW: Tensor, other_NCHW: Tensor) -> Tensor:
    """Give the mean earth mover's distance of the intensities of two images, exactly (eq. 12).

    In one dimension it is the mean distance of the sorted values.
    """
    one_NCP, other_NCP = (each.flatten(2).sort(dim=2).values for each in (one_NCHW, other_NCHW))
    return (one_NCP - other_NCP).abs().mean()


def peak(map_NHW: Tensor) -> Tensor:
    """Give the 99.5th percentile, by nearest rank, of each map blurred over 5 pixels, (N,)."""
    pad = BLUR_PX // 2
    padded = F.pad(map_NHW[:, None], (pad, pad, pad, pad), mode="replicate")
    blurred_NP = F.avg_pool2d(padded, BLUR_PX, stride=1).flatten(1)
    return blurred_NP.kthvalue(math.ceil(PEAK * blurred_NP.shape[1]), dim=1).values


class MAMANet(Detector):
    """Encoder, semantic basis, memory and decoder.

    ``size_px`` is at least 8; ``widths`` are the channels of the three maps, each divisible by 8.
    ``tokens`` bounds what attention looks at along a side, ``patch_px``, odd, is the patch of
    eq. 2. ``slots``, ``bits``, ``address``, ``few`` and ``idle`` are the memory's.

    Raises:
        BadParams: a switch has no such setting, or a size does not fit.
    """

    def __init__(  # noqa: PLR0913 - the constructor's keywords are the family's published knobs
        self,
        *,
        size_px: int = 64,
        widths: Sequence[int] = (32, 64, 128),
        attention: Kind = "pooled",
        tokens: int = TOKENS,
        patch_px: int = PATCH_PX,
        memory: Literal["position", "image", "bank"] = "position",
        slots: int = 2000,
        bits: int = 128,
        address: Address = "hard",
        few: int = FEW,
        idle: int = 50,
        skips: Literal["faithful", "strict"] = "strict",
        basis: bool = True,
        wasserstein_weight: float = 1.0,
    ) -> None:
        super().__init__(
            size_px=size_px,
            widths=list(widths),
            attention=attention,
            tokens=tokens,
            patch_px=patch_px,
            memory=memory,
            slots=slots,
            bits=bits,
            address=address,
            few=few,
            idle=idle,
            skips=skips,
            basis=basis,
            wasserstein_weight=wasserstein_weight,
        )
        _refuse_misfits(self.params)
        first, second, last = widths
        self.faithful = skips == "faithful"
        self.wasserstein_weight = wasserstein_weight
        block = partial(AttentionBlock, kind=attention, tokens=tokens, patch_px=patch_px)
        self.down = nn.ModuleList(
            [block("down", 1, first), block("down", first, second), block("down", second, last)]
        )
        self.basis = block("same", last, last) if basis else None
        self.join_last = block("same", last * (2 if basis else 1), last)
        self.up_second = block("up", last, second)
        self.join_second = block("same", second * (2 if self.faithful else 1), second)
        self.up_first = block("up", second, first)
        self.up_image = block("up", first, first)
        self.paint = nn.Conv2d(first, 1, 1)
        self.squeeze, self.expand = _passage(last, image=memory == "image")
        side_px = -(-size_px // 2**LEVELS)
        features = IMAGE_CHANNELS * side_px**2 if memory == "image" else last
        make = Bank if memory == "bank" else HashMemory
        self.memory = make(slots, features, bits=bits, address=address, few=few, idle=idle)

    def rebuild(self, voxels_NCHW: Tensor, *, recall: bool = True) -> Tensor:
        """Give the reconstruction; without ``recall`` the codes pass around the memory."""
        apart = voxels_NCHW.device.type == "cpu" and not torch.is_grad_enabled()
        encoded = self._apart if apart else self._encoded
        *maps, held = encoded(voxels_NCHW, recall=recall)
        found = held
        if self.basis is not None:
            found = torch.cat([held, self.basis(maps[-1] if self.faithful else held)], 1)
        found = self.up_second(self.join_last(found), _sides(maps[1]))
        if self.faithful:
            found = torch.cat([found, maps[1]], 1)
        found = self.up_first(self.join_second(found), _sides(maps[0]))
        painted: Tensor = self.paint(self.up_image(found, _sides(voxels_NCHW)))
        return painted

    def loss(self, batch: Batch) -> Loss:
        """Give the squared error plus the weighted distance of the intensities (eq. 13).

        A bank is filled after training; until then the codes pass around it.
        """
        recall = not isinstance(self.memory, Bank)
        rebuilt_NCHW = self.rebuild(batch.voxels_NCHW, recall=recall).float()
        parts = {"reconstruction": F.mse_loss(rebuilt_NCHW, batch.voxels_NCHW)}
        total = parts["reconstruction"]
        if self.wasserstein_weight:
            parts["wasserstein"] = wasserstein(rebuilt_NCHW, batch.voxels_NCHW)
            total = total + self.wasserstein_weight * parts["wasserstein"]
        return Loss(total=total, parts=parts)

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        """Score each slice by its residual; the map has the input's resolution.

        Raises:
            EmptyBank: the memory is a bank, and the detector has not settled.
        """
        map_NHW = (self.rebuild(voxels_NCHW) - voxels_NCHW).square()[:, 0]
        return Anomaly(
            score_N=map_NHW.mean((1, 2)), map_NHW=map_NHW, others={"peak": peak(map_NHW)}
        )

    @torch.no_grad()
    def settle(self, batches: Iterable[Tensor]) -> None:
        """Fill the bank, where the memory is one, with codes of places of healthy images."""
        if isinstance(self.memory, Bank):
            self.memory.fill(_places(self._maps(voxels_NCHW)[-1]) for voxels_NCHW in batches)

    def _apart(self, voxels_NCHW: Tensor, *, recall: bool = True) -> list[Tensor]:
        parts = (self._encoded(one_1CHW, recall=recall) for one_1CHW in torch.split(voxels_NCHW, 1))
        return [torch.cat(each) for each in zip(*parts, strict=True)]

    def _encoded(self, voxels_NCHW: Tensor, *, recall: bool) -> list[Tensor]:
        """Give the three maps, and what the decoder gets in place of the last."""
        maps = self._maps(voxels_NCHW)
        code = self.squeeze(maps[-1])
        return [*maps, self.expand(self._recalled(code) if recall else code)]

    def _maps(self, voxels_NCHW: Tensor) -> list[Tensor]:
        maps, last = [], voxels_NCHW
        for block in self.down:
            last = block(last)
            maps.append(last)
        return maps

    def _recalled(self, code_NCHW: Tensor) -> Tensor:
        if self.params["memory"] == "image":
            whole: Tensor = self.memory(code_NCHW.flatten(1)).reshape(code_NCHW.shape)
            return whole
        count, channels, rows, columns = code_NCHW.shape
        recalled_PF: Tensor = self.memory(_places(code_NCHW))
        return recalled_PF.reshape(count, rows, columns, channels).movedim(-1, 1)


def _passage(width: int, *, image: bool) -> tuple[nn.Module, nn.Module]:
    if not image:
        return nn.Identity(), nn.Identity()
    return nn.Conv2d(width, IMAGE_CHANNELS, 1), nn.Conv2d(IMAGE_CHANNELS, width, 1)


def _places(maps_NCHW: Tensor) -> Tensor:
    """Give the places of the maps as rows (P, C), image after image."""
    return maps_NCHW.movedim(1, -1).reshape(-1, maps_NCHW.shape[1])


def _sides(maps_NCHW: Tensor) -> tuple[int, int]:
    return maps_NCHW.shape[2], maps_NCHW.shape[3]


def _refuse_misfits(params: dict[str, object]) -> None:
    for name, known in SWITCHES.items():
        if params[name] not in known:
            msg = f"{name} {params[name]!r} is none of {', '.join(known)}"
            raise BadParams(msg)
    widths = params["widths"]
    assert isinstance(widths, list)  # noqa: S101 - made so by the constructor
    if len(widths) != LEVELS or any(width % GROUPS for width in widths):
        msg = f"widths {widths} must be {LEVELS}, each divisible by {GROUPS}"
        raise BadParams(msg)
