"""Attention blocks that keep, halve or double the sides of maps, in place of convolutions.

Source:   Chen et al. 2021, IEEE TMI, doi 10.1109/TMI.2020.3045295, section III-B (eq. 1 to 4).
Differs:  eq. 2 as printed multiplies matrices that do not fit: here a place's value is weighed by
          the mean agreement of queries and keys in the patch around it, through a sigmoid; keys
          and values of eq. 4 are pooled to few tokens and the products scaled, since the printed
          matrix has 676 million entries at 228 pixels; GroupNorm and GELU end each block, and
          the queries are added to what they found, neither of which the paper mentions.

Shapes: N images, C channels, H W rows and columns, P places, T tokens.
"""

import math
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.parts import GROUPS

Form = Literal["same", "down", "up"]
Kind = Literal["pooled", "channel"]
TOKENS: Final = 14
"""Keys and values are pooled to at most so many along each side."""
PATCH_PX: Final = 3


def patch_attention(
    query_NCHW: Tensor, key_NCHW: Tensor, value_NCHW: Tensor, patch_px: int
) -> Tensor:
    """Give each place's value times a sigmoid of how its patch agrees (eq. 2), (N, C, H, W).

    The agreement is the sum of the products of queries and keys over the patch, divided by its
    places, which beyond the rim count as none, and by the root of C.
    """
    agreed_N1HW = (query_NCHW * key_NCHW).sum(1, keepdim=True)
    mean_N1HW = F.avg_pool2d(agreed_N1HW, patch_px, stride=1, padding=patch_px // 2)
    return value_NCHW * torch.sigmoid(mean_N1HW / math.sqrt(value_NCHW.shape[1]))


def grid_attention(query_NCHW: Tensor, key_NCT: Tensor, value_NCT: Tensor) -> Tensor:
    """Give each place of the queries' grid its mixture of the values (eq. 4), (N, C, H, W)."""
    query_NPC = query_NCHW.flatten(2).mT / math.sqrt(query_NCHW.shape[1])
    weight_NPT = (query_NPC @ key_NCT).softmax(2)
    return (value_NCT @ weight_NPT.mT).reshape(query_NCHW.shape)


def channel_attention(query_NCHW: Tensor, key_NCT: Tensor, value_NCT: Tensor) -> Tensor:
    """Give each channel a mixture of the queries' channels, by affinity of keys and values."""
    weight_NCC = (key_NCT @ value_NCT.mT / math.sqrt(key_NCT.shape[2])).softmax(2)
    return (weight_NCC @ query_NCHW.flatten(2)).reshape(query_NCHW.shape)


def pooled(maps_NCHW: Tensor, tokens: int) -> Tensor:
    """Give the means of equal squares, at most ``tokens`` along each side."""
    square_px = -(-max(maps_NCHW.shape[-2:]) // tokens)
    return F.avg_pool2d(maps_NCHW, square_px, ceil_mode=True, count_include_pad=False)


class AttentionBlock(nn.Module):
    """One block in one of its forms.

    The sides stay ("same"), are halved and rounded up ("down"), or become those asked for, of
    which the half, rounded up, is the input's ("up"). ``outside`` is divisible by 8.
    """

    def __init__(
        self,
        form: Form,
        inside: int,
        outside: int,
        *,
        kind: Kind = "pooled",
        tokens: int = TOKENS,
        patch_px: int = PATCH_PX,
    ) -> None:
        super().__init__()
        self.kind, self.tokens, self.patch_px = kind, tokens, patch_px
        self.patch = nn.Conv2d(inside, 3 * outside, 1)
        self.grow = nn.ConvTranspose2d(outside, outside, 3, 2, 1) if form == "up" else None
        stride = 2 if form == "down" else 1
        self.query = None if self.grow else nn.Conv2d(outside, outside, 3, stride, 1)
        # A key's bias moves no softmax, and a value's is the norm's to give.
        self.key_value = nn.Conv2d(outside, 2 * outside, 1, bias=False)
        self.norm = nn.GroupNorm(GROUPS, outside)

    def forward(self, maps_NCHW: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Give the block's maps; ``size`` says the sides to grow to, by default the double."""
        query, key, value = self.patch(maps_NCHW).chunk(3, 1)
        seen_NCHW = patch_attention(query, key, value, self.patch_px)
        asked_NCHW = self._queries(seen_NCHW, size)
        found: Tensor = F.gelu(self.norm(asked_NCHW + self._attended(asked_NCHW, seen_NCHW)))
        return found

    def _queries(self, seen_NCHW: Tensor, size: tuple[int, int] | None) -> Tensor:
        found: Tensor
        if self.grow is not None:
            rows, columns = size or (2 * seen_NCHW.shape[2], 2 * seen_NCHW.shape[3])
            found = self.grow(seen_NCHW, output_size=[rows, columns])
        else:
            assert self.query is not None  # noqa: S101 - a block has one of the two
            found = self.query(seen_NCHW)
        return found

    def _attended(self, asked_NCHW: Tensor, seen_NCHW: Tensor) -> Tensor:
        if self.kind == "channel":
            key_NCT, value_NCT = self.key_value(seen_NCHW).flatten(2).chunk(2, 1)
            return channel_attention(asked_NCHW, key_NCT, value_NCT)
        # Pooling first gives what pooling last would, from fewer places.
        few_NCHW = pooled(seen_NCHW, self.tokens)
        key_NCT, value_NCT = self.key_value(few_NCHW).flatten(2).chunk(2, 1)
        return grid_attention(asked_NCHW, key_NCT, value_NCT)
