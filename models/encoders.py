"""Encoders that no label taught: a masked one of our own, and a vision transformer from a file.

Shapes: N images, C channels, H W rows and columns, P places in rows, F features, T tokens.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from models.contract import BadParams
from models.features import IMAGENET_MEAN, IMAGENET_STD, MissingWeights
from models.files import sha256
from models.parts import GROUPS, Residual

CELL_PX: Final = 8
"""Sides of a masked cell; the encoder's last level has one place a cell."""
LEVELS: Final = 3
HEAD: Final = 64
"""Features of one head of attention in DINOv2's networks; a narrower network has one head."""
OWN_PREFIX: Final = "encoder."
"""Of the masked encoder's tensors in an anchor's weights."""
LAYER: Final = re.compile(r"encoder\.layer\.(\d+)\.")


class MaskedEncoder(nn.Module):
    """A convolutional encoder that learns to fill in the cells of an image it does not see.

    It sees the image with the hidden cells at mid-grey, and where they are.
    """

    def __init__(self, widths: Sequence[int], masked: float) -> None:
        super().__init__()
        if len(widths) != LEVELS or any(width % GROUPS for width in widths):
            msg = f"widths {list(widths)} must be {LEVELS} numbers divisible by {GROUPS}"
            raise BadParams(msg)
        self.masked = checked("masked", masked, low=0, high=0.95)
        first, *rest = widths
        self.stem = nn.Conv2d(2, first, 4, stride=2, padding=1)
        self.levels = nn.ModuleList(
            [Residual(first, rest[0], -1), *(Residual(a, b, -1) for a, b in pairwise(rest))]
        )
        self.fill = nn.Sequential(
            Residual(rest[-1], rest[-1], 0), nn.Conv2d(rest[-1], CELL_PX**2, 1)
        )
        self.features = sum(rest)

    def forward(self, voxels_NCHW: Tensor, side: int) -> Tensor:
        """Give the features of whole images, (N, P, F), on a map of ``side`` places a side."""
        shown_NCHW = torch.cat([2 * voxels_NCHW - 1, torch.zeros_like(voxels_NCHW)], 1)
        maps = [
            F.interpolate(one, (side, side), mode="bilinear", align_corners=False)
            for one in self._levels(shown_NCHW)
        ]
        return torch.cat(maps, 1).flatten(2).transpose(1, 2)

    def loss(self, voxels_NCHW: Tensor, generator: torch.Generator | None) -> Tensor:
        """Give the mean squared error in the hidden cells; drawn on the CPU."""
        count, _, rows, columns = voxels_NCHW.shape
        cells = (count, 1, rows // CELL_PX, columns // CELL_PX)
        hidden = torch.rand(cells, generator=generator) < self.masked
        hidden[:, :, 0, 0] |= ~hidden.flatten(1).any(1)[:, None]
        hidden_NCHW = hidden.to(voxels_NCHW)
        wide_NCHW = F.interpolate(hidden_NCHW, (rows, columns), mode="nearest")
        grey_NCHW = 2 * voxels_NCHW - 1
        shown_NCHW = torch.cat([grey_NCHW * (1 - wide_NCHW), wide_NCHW], 1)
        guess_NCHW = F.pixel_shuffle(self.fill(self._levels(shown_NCHW)[-1]), CELL_PX)
        wrong_NCHW = (guess_NCHW - grey_NCHW).square() * wide_NCHW
        return wrong_NCHW.sum() / wide_NCHW.sum()

    def read(self, weights: Path) -> str:
        """Take the weights of another anchor's encoder from a file, and give its SHA-256.

        Raises:
            MissingWeights: the file is not there or holds no such encoder.
        """
        content, tensors = _opened(weights)
        own = {
            name.removeprefix(OWN_PREFIX): tensor
            for name, tensor in tensors.items()
            if name.startswith(OWN_PREFIX)
        }
        try:
            self.load_state_dict(own)
        except RuntimeError:
            msg = f"{weights} holds no masked encoder of these widths; name an anchor's weights"
            raise MissingWeights(msg) from None
        return sha256(content)

    def _levels(self, shown_NCHW: Tensor) -> list[Tensor]:
        maps_NCHW, found = self.stem(shown_NCHW), []
        for level in self.levels:
            maps_NCHW = level(maps_NCHW)
            found.append(maps_NCHW)
        return found


class Vit(nn.Module):
    """A vision transformer of DINOv2's layout (Oquab et al. 2023, arXiv:2304.07193), frozen.

    The file is a safetensors file with the names of the transformers library, such as
    ``encoder.layer.0.attention.attention.query.weight``. It is kept in half precision. Grey is
    given to all three colours, and images are enlarged to one patch a place of the map.
    """

    def __init__(self, weights: Path | None, shape: Mapping[str, int] | None) -> None:
        super().__init__()
        self.checksum: str | None = None
        tensors: dict[str, Tensor] = {}
        if shape is None:
            if weights is None:
                msg = "encoder vit needs `weights`, the path of a safetensors file of its weights"
                raise MissingWeights(msg)
            content, tensors = _opened(weights)
            self.checksum = sha256(content)
            shape = _shape(tensors, weights)
        self.shape = dict(shape)
        self.features = shape["width"]
        for name, size in _sizes(shape).items():
            kept = torch.full(size, torch.nan, dtype=torch.float16)
            if tensors:
                if name not in tensors or tensors[name].shape != kept.shape:
                    msg = f"{weights} holds no {name} of shape {tuple(size)}: not DINOv2's layout"
                    raise MissingWeights(msg)
                kept.copy_(tensors[name])
            self.register_buffer(_key(name), kept)

    def forward(self, voxels_NCHW: Tensor, side: int) -> Tensor:
        """Give the patches' normalised features of the last layer, (N, P, F)."""
        sides = [side * self.shape["patch_px"]] * 2
        large = F.interpolate(voxels_NCHW, sides, mode="bilinear", align_corners=False)
        mean, std = (large.new_tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
        projection = "embeddings.patch_embeddings.projection"
        patches = F.conv2d(
            (large - mean) / std,
            self._take(f"{projection}.weight", large),
            self._take(f"{projection}.bias", large),
            stride=self.shape["patch_px"],
        )
        class_N1F = self._take("embeddings.cls_token", large).expand(len(large), -1, -1)
        tokens_NTF = torch.cat([class_N1F, patches.flatten(2).transpose(1, 2)], 1)
        tokens_NTF = tokens_NTF + self._positions(side, large)
        for index in range(self.shape["depth"]):
            tokens_NTF = self._layer(tokens_NTF, f"encoder.layer.{index}")
        return self._normal(tokens_NTF, "layernorm")[:, 1:]

    def _positions(self, side: int, like: Tensor) -> Tensor:
        known_1TF = self._take("embeddings.position_embeddings", like)
        grid = round((known_1TF.shape[1] - 1) ** 0.5)
        map_1FHW = known_1TF[:, 1:].transpose(1, 2).reshape(1, -1, grid, grid)
        resized = F.interpolate(map_1FHW, (side, side), mode="bicubic", align_corners=False)
        return torch.cat([known_1TF[:, :1], resized.flatten(2).transpose(1, 2)], 1)

    def _layer(self, tokens_NTF: Tensor, name: str) -> Tensor:
        count, length, width = tokens_NTF.shape
        heads = max(1, width // HEAD)
        before = self._normal(tokens_NTF, f"{name}.norm1")
        query, key, value = (
            self._linear(before, f"{name}.attention.attention.{part}")
            .reshape(count, length, heads, -1)
            .transpose(1, 2)
            for part in ("query", "key", "value")
        )
        joined = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        found = self._linear(joined, f"{name}.attention.output.dense")
        tokens_NTF = tokens_NTF + found * self._take(f"{name}.layer_scale1.lambda1", found)
        hidden = F.gelu(self._linear(self._normal(tokens_NTF, f"{name}.norm2"), f"{name}.mlp.fc1"))
        found = self._linear(hidden, f"{name}.mlp.fc2")
        return tokens_NTF + found * self._take(f"{name}.layer_scale2.lambda1", found)

    def _linear(self, tokens: Tensor, name: str) -> Tensor:
        weight, bias = (self._take(f"{name}.{kind}", tokens) for kind in ("weight", "bias"))
        return F.linear(tokens, weight, bias)

    def _normal(self, tokens: Tensor, name: str) -> Tensor:
        weight, bias = (self._take(f"{name}.{kind}", tokens) for kind in ("weight", "bias"))
        return F.layer_norm(tokens, tokens.shape[-1:], weight, bias, eps=1e-6)

    def _take(self, name: str, like: Tensor) -> Tensor:
        return self.get_buffer(_key(name)).to(like)


def checked(name: str, value: float, *, low: float, high: float) -> float:
    """Give the value if it is above ``low`` and at most ``high``.

    Raises:
        BadParams: it is not.
    """
    if not low < value <= high:
        msg = f"{name} {value:g} must be above {max(low, 0):g} and at most {high:g}"
        raise BadParams(msg)
    return value


def _opened(weights: Path) -> tuple[bytes, dict[str, Tensor]]:
    try:
        content = weights.read_bytes()
        return content, load_tensors(content)
    except OSError as why:
        msg = f"cannot read the encoder's weights, {weights}: {why.strerror}"
    except SafetensorError:
        msg = f"{weights} is no safetensors file; an encoder is read from no other"
    raise MissingWeights(msg)


def _key(name: str) -> str:
    return name.replace(".", "-")


def _shape(tensors: Mapping[str, Tensor], weights: Path) -> dict[str, int]:
    layers = [int(found[1]) for found in map(LAYER.match, tensors) if found]
    try:
        width, _, patch_px, _ = tensors["embeddings.patch_embeddings.projection.weight"].shape
        places = tensors["embeddings.position_embeddings"].shape[1] - 1
        hidden = tensors["encoder.layer.0.mlp.fc1.bias"].shape[0]
    except (KeyError, ValueError, IndexError):
        msg = f"{weights} holds no vision transformer of DINOv2's layout"
        raise MissingWeights(msg) from None
    depth = max(layers) + 1
    return {
        "width": width,
        "depth": depth,
        "patch_px": patch_px,
        "places": places,
        "hidden": hidden,
    }


def _sizes(shape: Mapping[str, int]) -> dict[str, list[int]]:
    """Give the size of every tensor that is needed, by its name in the file."""
    width, patch_px = shape["width"], shape["patch_px"]
    sizes = {
        "embeddings.cls_token": [1, 1, width],
        "embeddings.position_embeddings": [1, shape["places"] + 1, width],
        "embeddings.patch_embeddings.projection.weight": [width, 3, patch_px, patch_px],
        "embeddings.patch_embeddings.projection.bias": [width],
        "layernorm.weight": [width],
        "layernorm.bias": [width],
    }
    for index in range(shape["depth"]):
        sizes |= {
            f"encoder.layer.{index}.{name}": size
            for name, size in _layer_sizes(width, shape["hidden"]).items()
        }
    return sizes


def _layer_sizes(width: int, hidden: int) -> dict[str, list[int]]:
    square = ("attention.attention.query", "attention.attention.key", "attention.attention.value")
    linear = dict.fromkeys((*square, "attention.output.dense"), (width, width))
    linear |= {"mlp.fc1": (hidden, width), "mlp.fc2": (width, hidden)}
    sizes: dict[str, list[int]] = {}
    for name, (out, inside) in linear.items():
        sizes |= {f"{name}.weight": [out, inside], f"{name}.bias": [out]}
    for name in ("norm1", "norm2"):
        sizes |= {f"{name}.weight": [width], f"{name}.bias": [width]}
    return sizes | {f"layer_scale{one}.lambda1": [width] for one in (1, 2)}
