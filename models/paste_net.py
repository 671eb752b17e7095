"""Paste-net: a network that finds lesions pasted into healthy images, and then looks for others.

Source:   Li et al. 2021, arXiv:2104.04015 (CutPaste); Zavrtanik et al. 2021, arXiv:2108.07610
          (DRAEM, section 3.2); Schlueter et al. 2022, arXiv:2109.15222 (NSA, section 3); Sato et
          al. 2023, arXiv:2210.12227 (AnatPaste); Ronneberger et al. 2015, arXiv:1505.04597.
Input:    voxels_NCHW, float32 in [0, 1] as the recipe scales it; C = 1, ``size_px`` square.
Score:    mean over the ``top`` share of the map's places inside the ``margin``. The map is the
          segmentation's logit, less its healthy mean at that place, over its healthy deviation,
          cut at 0; the score's places are not cut. No unit, higher is stranger.
Differs:  the lesions are those of ``models.pasting``; the segmentation sees them directly, without
          DRAEM's reconstruction before it; the network is told each pixel's place, since what is
          strange in one is usual in another; every image's tone and sharpness are changed as a
          whole first, so that a look of the whole image, of which healthy ones differ between
          machines, is no sign of a lesion; how healthy images read is taken from images that
          trained nothing, where there are any.

Shapes: N slices, C channels, H W rows and columns.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contract import Anomaly, BadParams, Batch, Detector, Loss, Player, Stage
from models.parts import GROUPS, SLOPE, Residual, side_px
from models.pasting import paste

SPARED: Final = 0.25
"""Share of the images that get no lesion."""
GRAIN: Final = 0.02
"""Largest deviation of the noise that is added to whole images."""
STRETCH: Final = 0.2
"""Largest relative change of an image's contrast."""
LEAST: Final = 0.25
"""The least deviation of healthy logits that a place may have."""


def disguise(voxels_NCHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Change each image's contrast, brightness, sharpness and grain as a whole; in [0, 1]."""
    count = len(voxels_NCHW)

    def draw(low: float, high: float) -> Tensor:
        even = torch.rand(count, 1, 1, 1, generator=generator)
        return (low + (high - low) * even).to(voxels_NCHW)

    near_NCHW = F.avg_pool2d(F.pad(voxels_NCHW, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    found = torch.lerp(voxels_NCHW, near_NCHW, draw(-0.5, 1.0))
    middle_NCHW = found.mean((2, 3), keepdim=True)
    found = middle_NCHW + (found - middle_NCHW) * (1 + STRETCH * draw(-1, 1)) + 0.1 * draw(-1, 1)
    noise_NCHW = torch.randn(voxels_NCHW.shape, generator=generator).to(voxels_NCHW)
    return (found + GRAIN * draw(0, 1) * noise_NCHW).clamp(0, 1)


class UNet(nn.Module):
    """A small U-Net from the image and its pixels' places to a logit a pixel, half as fine."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 4, stride=2, padding=1)
        self.first = Residual(widths[0], widths[0], 0)
        self.down = nn.ModuleList(Residual(inside, out, -1) for inside, out in pairwise(widths))
        ups = pairwise(reversed(widths))
        self.up = nn.ModuleList(Residual(inside, out, 1) for inside, out in ups)
        self.last = nn.Sequential(
            nn.GroupNorm(GROUPS, widths[0]), nn.LeakyReLU(SLOPE), nn.Conv2d(widths[0], 1, 1)
        )

    def forward(self, voxels_NCHW: Tensor) -> Tensor:
        """Give the logits (N, 1, H / 2, W / 2)."""
        maps_NCHW = self.first(self.stem(_placed(2 * voxels_NCHW - 1)))
        beside = []
        for block in self.down:
            beside.append(maps_NCHW)
            maps_NCHW = block(maps_NCHW)
        for block, like_NCHW in zip(self.up, reversed(beside), strict=True):
            maps_NCHW = block(maps_NCHW) + like_NCHW
        found: Tensor = self.last(maps_NCHW)
        return found


class PasteNet(Detector):
    """The network and how it reads healthy images.

    ``size_px`` is divisible by 2 to the number of ``widths``, of which there are two at least,
    each divisible by 8. ``top`` is the share of places that make the score, ``margin`` the share
    of the width that is left out of it at each side.

    Raises:
        BadParams: the size or a width does not divide, or a share is out of range.
    """

    mean_HW: Tensor
    deviation_HW: Tensor

    def __init__(
        self,
        *,
        size_px: int = 64,
        widths: Sequence[int] = (16, 32, 64, 64),
        top: float = 0.1,
        margin: float = 0.1,
    ) -> None:
        super().__init__(size_px=size_px, widths=list(widths), top=top, margin=margin)
        side_px(size_px, widths)
        if len(widths) < 2 or not 0 < top <= 1 or not 0 <= margin < 0.5:
            msg = "widths are two or more, top is in (0, 1] and margin in [0, 0.5)"
            raise BadParams(msg)
        self.net = UNet(widths)
        side = size_px // 2
        rim = int(margin * side)
        self.inner = slice(rim, side - rim)
        self.top = top
        self.register_buffer("mean_HW", torch.zeros(side, side))
        self.register_buffer("deviation_HW", torch.ones(side, side))

    def stages(self) -> tuple[Stage, ...]:
        """Give the one stage; what is watched are the same lesions each time."""
        player = Player("finder", (self.net,), self.loss)
        return (Stage("find", (player,), watch=self._watch),)

    def loss(self, batch: Batch) -> Loss:
        """Give how badly the lesions of freshly pasted images are found."""
        return self._found(batch.voxels_NCHW, None)

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        """Score each slice by its strangest places."""
        standard_NHW = self._standard(voxels_NCHW)
        inner_NP = standard_NHW[:, self.inner, self.inner].flatten(1)
        kept = max(1, round(self.top * inner_NP.shape[1]))
        map_NHW = _enlarged(standard_NHW.clamp_min(0), voxels_NCHW)
        return Anomaly(score_N=inner_NP.topk(kept).values.mean(1), map_NHW=map_NHW)

    @torch.no_grad()
    def settle(self, batches: Iterable[Tensor]) -> None:
        """Learn how the network reads healthy images, place by place."""
        logits_NHW = torch.cat([self.net(voxels_NCHW)[:, 0] for voxels_NCHW in batches])
        self.mean_HW = _softened(logits_NHW.mean(0))
        self.deviation_HW = _softened(logits_NHW.std(0, correction=0)).clamp_min(LEAST)

    def gauge(self, batches: Iterable[Tensor]) -> None:
        """Learn it anew from healthy images that the network never saw."""
        self.settle(batches)

    def _watch(self, batch: Batch) -> Tensor:
        return self._found(batch.voxels_NCHW, torch.Generator().manual_seed(0)).total

    def _found(self, voxels_NCHW: Tensor, generator: torch.Generator | None) -> Loss:
        count = len(voxels_NCHW)
        plain_NCHW = disguise(voxels_NCHW, generator)
        pasted_NCHW, share_NCHW = paste(plain_NCHW, generator)
        spared_N = torch.rand(count, generator=generator) < SPARED
        spared_NCHW = spared_N[:, None, None, None].to(voxels_NCHW)
        shown_NCHW = torch.lerp(pasted_NCHW, plain_NCHW, spared_NCHW)
        wanted_NCHW = F.avg_pool2d(share_NCHW * (1 - spared_NCHW), 2)
        logit_NCHW = self.net(shown_NCHW)
        cross = F.binary_cross_entropy_with_logits(logit_NCHW, wanted_NCHW)
        overlap = _dice(torch.sigmoid(logit_NCHW), wanted_NCHW)
        return Loss(total=cross + overlap, parts={"cross": cross, "overlap": overlap})

    def _standard(self, voxels_NCHW: Tensor) -> Tensor:
        logit_NHW: Tensor = self.net(voxels_NCHW)[:, 0]
        return (logit_NHW - self.mean_HW) / self.deviation_HW


def _dice(guess_NCHW: Tensor, wanted_NCHW: Tensor) -> Tensor:
    """Give 1 less the overlap of both over all images together, Dice's measure."""
    both = (guess_NCHW * wanted_NCHW).sum()
    return 1 - (2 * both + 1) / (guess_NCHW.sum() + wanted_NCHW.sum() + 1)


def _placed(voxels_NCHW: Tensor) -> Tensor:
    """Put each pixel's row and column, in [-1, 1], beside its grey."""
    rows, columns = voxels_NCHW.shape[-2:]
    down_H1 = torch.linspace(-1, 1, rows)[:, None].expand(rows, columns)
    across_1W = torch.linspace(-1, 1, columns)[None, :].expand(rows, columns)
    places_2HW = torch.stack([down_H1, across_1W]).to(voxels_NCHW)
    return torch.cat([voxels_NCHW, places_2HW.expand(len(voxels_NCHW), -1, -1, -1)], 1)


def _softened(map_HW: Tensor) -> Tensor:
    padded = F.pad(map_HW[None, None], (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(padded, 3, stride=1)[0, 0]


def _enlarged(map_NHW: Tensor, like_NCHW: Tensor) -> Tensor:
    size = list(like_NCHW.shape[-2:])
    return F.interpolate(map_NHW[:, None], size, mode="bilinear", align_corners=False)[:, 0]
