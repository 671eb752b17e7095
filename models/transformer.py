"""Blocks of transformers: attention to learned memories and to every level of an encoder.

Source: Vaswani et al. 2017, arXiv:1706.03762; memories and gates as in Cornia et al. 2020,
        arXiv:1912.08226, sections 3.1 and 3.2, with the scales of its public code.

Shapes: B sequences, Q tokens that ask, V tokens that are asked, F features, M memory slots,
L levels, G gates.
"""

from math import sqrt
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contract import BadParams

Gates = Literal["feature", "level"]
MLP: Final = 4
"""Width of a block's hidden layer as a multiple of its tokens'."""


def head_features(width: int, heads: int) -> int:
    """Give the features of one head.

    Raises:
        BadParams: the width does not divide.
    """
    if width % heads:
        msg = f"width {width} must be divisible by its number of heads, {heads}"
        raise BadParams(msg)
    return width // heads


class Attention(nn.Module):
    """Scaled dot products of several heads; ``memory`` slots extend keys and values.

    The slots are learned, and the same for every image: keys_MF, values_MF, drawn with variance
    1 / features of a head and 1 / M, and multiplied by the roots of those numbers where used.
    """

    def __init__(self, width: int, heads: int, memory: int = 0) -> None:
        super().__init__()
        self.heads, self.each = heads, head_features(width, heads)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)
        self.memory = memory
        if memory:
            self.keys_MF = nn.Parameter(torch.randn(memory, width) / self.each**0.5)
            self.values_MF = nn.Parameter(torch.randn(memory, width) / memory**0.5)

    def forward(self, asking_BQF: Tensor, asked_BVF: Tensor) -> Tensor:
        """Give what each asking token finds, (B, Q, F)."""
        query, key, value = self.query(asking_BQF), self.key(asked_BVF), self.value(asked_BVF)
        if self.memory:
            key = _extended(key, self.keys_MF * self.each**0.5)
            value = _extended(value, self.values_MF * self.memory**0.5)
        found = F.scaled_dot_product_attention(
            _parted(query, self.heads), _parted(key, self.heads), _parted(value, self.heads)
        )
        joined: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return joined


class MultiLevel(nn.Module):
    """Attention to every level of an encoder through the same weights, summed by gates.

    The sum over levels l of sigmoid(W_l [asking, found_l]) * found_l, divided by the root of L.
    ``gates`` is one for each feature of each token and level, or one for each token and level.
    """

    def __init__(self, width: int, heads: int, levels: int, gates: Gates = "feature") -> None:
        super().__init__()
        head_features(width, heads)
        self.heads, self.levels = heads, levels
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)
        each = width if gates == "feature" else 1
        # For all levels at once: the asking token's half of W_l, then what it found's.
        spread = (6 / (2 * width + each)) ** 0.5
        self.gate_2LFG = nn.Parameter(torch.empty(2, levels, width, each).uniform_(-spread, spread))
        self.bias_L1G = nn.Parameter(torch.zeros(levels, 1, each))

    def forward(self, asking_BQF: Tensor, levels_LBVF: Tensor) -> Tensor:
        """Give the gated sum of what each token finds at the levels, (B, Q, F)."""
        found_LBQF = self.found(asking_BQF, levels_LBVF)
        gated_LBQF = self.gates(asking_BQF, found_LBQF) * found_LBQF
        return gated_LBQF.sum(0) / sqrt(self.levels)

    def found(self, asking_BQF: Tensor, levels_LBVF: Tensor) -> Tensor:
        """Give what each token finds at each level, (L, B, Q, F)."""
        query = _parted(self.query(asking_BQF), self.heads).expand(self.levels, -1, -1, -1, -1)
        key = _parted(self.key(levels_LBVF), self.heads)
        value = _parted(self.value(levels_LBVF), self.heads)
        found = F.scaled_dot_product_attention(
            query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1)
        )
        joined: Tensor = self.out(found.transpose(1, 2).flatten(2))
        found_LBQF: Tensor = joined.reshape(self.levels, *asking_BQF.shape)
        return found_LBQF

    def gates(self, asking_BQF: Tensor, found_LBQF: Tensor) -> Tensor:
        """Give how far each level is let through, (L, B, Q, G) in (0, 1)."""
        asked_LTG = torch.matmul(asking_BQF.flatten(0, 1), self.gate_2LFG[0])
        told_LTG = torch.matmul(found_LBQF.flatten(1, 2), self.gate_2LFG[1])
        open_LTG = torch.sigmoid(asked_LTG + told_LTG + self.bias_L1G)
        return open_LTG.reshape(*found_LBQF.shape[:3], -1)


class Block(nn.Module):
    """A block of a ViT: attention, then two layers for each token, each added to its input.

    Its own attention has ``memory`` slots; with ``levels`` a gated attention to so many levels
    of an encoder stands between the two.
    """

    def __init__(
        self, width: int, heads: int, *, memory: int = 0, levels: int = 0, gates: Gates = "feature"
    ) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.attention = Attention(width, heads, memory)
        self.crossing = nn.LayerNorm(width) if levels else None
        self.levels = MultiLevel(width, heads, levels, gates) if levels else None
        self.between = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, MLP * width), nn.GELU(), nn.Linear(MLP * width, width)
        )

    def forward(self, tokens_BQF: Tensor, levels_LBVF: Tensor | None = None) -> Tensor:
        """Give the tokens after the block."""
        asking_BQF = self.before(tokens_BQF)
        tokens_BQF = tokens_BQF + self.attention(asking_BQF, asking_BQF)
        if self.levels is not None and self.crossing is not None and levels_LBVF is not None:
            tokens_BQF = tokens_BQF + self.levels(self.crossing(tokens_BQF), levels_LBVF)
        found: Tensor = tokens_BQF + self.mlp(self.between(tokens_BQF))
        return found


def _extended(tokens_BVF: Tensor, slots_MF: Tensor) -> Tensor:
    slots_BMF = slots_MF.to(tokens_BVF.dtype).expand(len(tokens_BVF), -1, -1)
    return torch.cat([tokens_BVF, slots_BMF], 1)


def _parted(tokens: Tensor, heads: int) -> Tensor:
    """Give the tokens head by head: the heads come before the tokens."""
    return tokens.reshape(*tokens.shape[:-1], heads, -1).transpose(-2, -3)
