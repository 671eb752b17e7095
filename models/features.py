"""Perceptual features: what two images are compared by, instead of their pixels.

Named in FEATURES, so that a number says what it was seen with:

``own``    an encoder that learns on the healthy training images themselves, without labels, to
           find where a piece of another image was blended in, and how strongly (foreign patch
           interpolation, Tan et al. 2020, arXiv:2011.04197, sections 2.1 and 2.2). It needs no
           file and no other data, it sees the modality that it judges, and what it must notice,
           a local break with the surroundings, is what a lesion is to it.
``vgg19``  the first convolutions of VGG19 (Simonyan & Zisserman 2015, arXiv:1409.1556), as the
           perceptual loss was published with. Its weights come from a local safetensors file.

Differs:  in ``own`` the piece may come from another place of the other image; VGG's weights are
          kept in half precision, so that an artifact stays small.

Shapes: N images, C channels, H W rows and columns, F features.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from models.contract import BadParams, Batch, Loss
from models.files import sha256
from models.parts import GROUPS, Residual

FEATURES: Final = ("own", "vgg19")
LARGEST: Final = 0.4
"""Share of the width that a blended piece may take; the least is a tenth."""
VGG19: Final = ((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256),
                (12, 256, 256), (14, 256, 256), (16, 256, 256), (19, 256, 512),
                (21, 512, 512))  # fmt: skip
"""Index in the published stack, channels in and out, of each 3 by 3 convolution."""
POOLED_BEFORE: Final = (5, 10, 19)
VGG_TAPS: Final[Mapping[str, int]] = {"r32": 12, "r42": 21}
"""Name of the rectified layer and its convolution's index."""
IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


class MissingWeights(BadParams):
    """The extractor's weights are not there, or are not what they must be."""


class OwnFeatures(nn.Module):
    """The encoder that teaches itself; each level halves the sides."""

    LEVELS: Final = ("half", "quarter", "eighth")

    def __init__(self, layers: Sequence[str] = ("half", "quarter"), width: int = 16) -> None:
        super().__init__()
        if unknown := set(layers) - set(self.LEVELS):
            msg = f"own features have no layers {sorted(unknown)}; known: {self.LEVELS}"
            raise BadParams(msg)
        self.layers = tuple(layers)
        widths = [width * 2**level for level in range(len(self.LEVELS) + 1)]
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.levels = nn.ModuleList(
            Residual(inside, outside, -1) for inside, outside in pairwise(widths)
        )
        self.blend = nn.Sequential(
            nn.GroupNorm(GROUPS, widths[-1]), nn.ReLU(), nn.Conv2d(widths[-1], 1, 1)
        )
        self.channels = tuple(widths[self.LEVELS.index(layer) + 1] for layer in layers)

    def forward(self, voxels_NCHW: Tensor) -> tuple[Tensor, ...]:
        """Give the maps of ``layers``."""
        found = dict(zip(self.LEVELS, self._all(voxels_NCHW), strict=True))
        return tuple(found[layer] for layer in self.layers)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """Give how badly the blended pieces of this batch are found, by cross entropy."""
        blended_NCHW, share_NCHW = blend(batch.voxels_NCHW, generator)
        guess_NCHW = self.blend(self._all(blended_NCHW)[-1])
        rows, columns = guess_NCHW.shape[-2:]
        coarse_NCHW = F.adaptive_avg_pool2d(share_NCHW, (rows, columns))
        found = F.binary_cross_entropy_with_logits(guess_NCHW, coarse_NCHW)
        return Loss(total=found, parts={"blend": found})

    def watch(self, batch: Batch) -> Tensor:
        """Give the loss of the same pieces each time."""
        return self.loss(batch, torch.Generator().manual_seed(0)).total

    def _all(self, voxels_NCHW: Tensor) -> list[Tensor]:
        maps_NCHW = self.stem(2 * voxels_NCHW - 1)
        found = []
        for level in self.levels:
            maps_NCHW = level(maps_NCHW)
            found.append(maps_NCHW)
        return found


def blend(voxels_NCHW: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Blend a piece of another image into each; give the images and each pixel's share of it.

    Drawn on the CPU, so that every device sees the same pieces.
    """
    count, _, rows, columns = voxels_NCHW.shape
    size = torch.tensor([rows, columns])
    high_N2 = ((0.1 + (LARGEST - 0.1) * torch.rand(count, 2, generator=generator)) * size).ceil()
    first_N2 = (torch.rand(count, 2, generator=generator) * (size - high_N2 + 1)).floor()
    share_N = 0.05 + 0.9 * torch.rand(count, generator=generator)
    inside = []
    for axis, length in enumerate((rows, columns)):
        place = torch.arange(length)
        start, end = first_N2[:, axis, None], (first_N2 + high_N2)[:, axis, None]
        inside.append((place >= start) & (place < end))
    share_NHW = share_N[:, None, None] * (inside[0][:, :, None] & inside[1][:, None, :])
    share_NCHW = share_NHW[:, None].to(voxels_NCHW)
    down, right = (
        int(torch.randint(1, n // 4 + 2, (), generator=generator)) for n in (rows, columns)
    )
    other_NCHW = voxels_NCHW.roll((1, down, right), (0, 2, 3))
    return torch.lerp(voxels_NCHW, other_NCHW, share_NCHW), share_NCHW


class Vgg19(nn.Module):
    """VGG19 up to the last of ``layers``, frozen; grey is given to all three colours."""

    def __init__(
        self, layers: Sequence[str], weights: Path | None, checksum: str | None = None
    ) -> None:
        super().__init__()
        if unknown := set(layers) - set(VGG_TAPS):
            msg = f"vgg19 has no layers {sorted(unknown)}; known: {', '.join(VGG_TAPS)}"
            raise BadParams(msg)
        self.layers = tuple(layers)
        last = max(VGG_TAPS[layer] for layer in layers)
        self.convolutions = [entry for entry in VGG19 if entry[0] <= last]
        outside_of = {index: outside for index, _, outside in VGG19}
        self.channels = tuple(outside_of[VGG_TAPS[layer]] for layer in layers)
        for index, inside, outside in self.convolutions:
            empty = torch.full((outside, inside, 3, 3), torch.nan, dtype=torch.float16)
            self.register_buffer(f"weight_{index}", empty)
            self.register_buffer(f"bias_{index}", empty[:, 0, 0, 0].clone())
        self.checksum = checksum
        if checksum is None:
            self.checksum = self._read(weights)

    def forward(self, voxels_NCHW: Tensor) -> tuple[Tensor, ...]:
        """Give the rectified maps of ``layers``.

        Raises:
            MissingWeights: the weights were neither read from a file nor loaded.
        """
        if self.get_buffer("bias_0")[0].isnan():
            msg = (
                "the weights of vgg19 are known by checksum only; they come with an artifact, or "
                "from the file that `weights` names when `weights_sha256` is left out"
            )
            raise MissingWeights(msg)
        mean, std = (
            voxels_NCHW.new_tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD)
        )
        maps_NCHW, found = (voxels_NCHW - mean) / std, {}
        for index, _, _ in self.convolutions:
            if index in POOLED_BEFORE:
                maps_NCHW = F.max_pool2d(maps_NCHW, 2)
            weight, bias = (
                self.get_buffer(f"{kind}_{index}").to(maps_NCHW) for kind in ("weight", "bias")
            )
            maps_NCHW = found[index] = F.conv2d(maps_NCHW, weight, bias, padding=1).relu()
        return tuple(found[VGG_TAPS[layer]] for layer in self.layers)

    def _read(self, weights: Path | None) -> str:
        if weights is None:
            msg = "vgg19 needs `weights`, the path of a safetensors file of its weights"
            raise MissingWeights(msg)
        try:
            content = weights.read_bytes()
            tensors = load_tensors(content)
        except OSError as why:
            msg = f"cannot read the weights of vgg19, {weights}: {why.strerror}"
            raise MissingWeights(msg) from None
        except SafetensorError:
            msg = f"{weights} is no safetensors file; vgg19 takes no other"
            raise MissingWeights(msg) from None
        for index, _, _ in self.convolutions:
            for kind in ("weight", "bias"):
                self._fill(f"{kind}_{index}", tensors.get(f"features.{index}.{kind}"), weights)
        return sha256(content)

    def _fill(self, name: str, tensor: Tensor | None, weights: Path) -> None:
        buffer = self.get_buffer(name)
        if tensor is None or tensor.shape != buffer.shape:
            key = "features." + ".".join(reversed(name.split("_")))
            msg = f"{weights} holds no {key} of shape {tuple(buffer.shape)}: not VGG19's weights"
            raise MissingWeights(msg)
        buffer.copy_(tensor)


class Moments(nn.Module):
    """Mean and deviation of each feature over the first healthy images seen in training."""

    mean_F: Tensor
    square_F: Tensor
    seen: Tensor

    def __init__(self, channels: int, limit: int = 2048) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("mean_F", torch.zeros(channels))
        self.register_buffer("square_F", torch.ones(channels))
        self.register_buffer("seen", torch.tensor(0))

    @torch.no_grad()
    def observe(self, maps_NCHW: Tensor) -> None:
        """Take the maps of further images into account, until ``limit`` images were seen."""
        if self.seen >= self.limit:
            return
        self.seen += len(maps_NCHW)
        share = len(maps_NCHW) / int(self.seen)
        maps_NCHW = maps_NCHW.float()
        self.mean_F.lerp_(maps_NCHW.mean((0, 2, 3)), share)
        self.square_F.lerp_(maps_NCHW.square().mean((0, 2, 3)), share)

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        """Give the maps with the mean taken off, in units of the standard deviation."""
        deviation_F = (self.square_F - self.mean_F.square()).clamp_min(1e-8).sqrt()
        return (maps_NCHW - self.mean_F[:, None, None]) / deviation_F[:, None, None]
