"""Layers that several families are built of. None of them mixes the images of a batch.

Shapes: N images, C channels, H W rows and columns.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from torch import Tensor, nn

from models.contract import BadParams

GROUPS: Final = 8
"""Of every GroupNorm: widths are divisible by it."""
SLOPE: Final = 0.2
"""Of every LeakyReLU."""


def halve(inside: int, outside: int) -> nn.Sequential:
    """Give a strided convolution that halves the sides."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, 4, stride=2, padding=1),
        nn.GroupNorm(GROUPS, outside),
        nn.LeakyReLU(SLOPE),
    )


def double(inside: int, outside: int) -> nn.Sequential:
    """Give a transposed convolution that doubles the sides."""
    return nn.Sequential(
        nn.ConvTranspose2d(inside, outside, 4, stride=2, padding=1),
        nn.GroupNorm(GROUPS, outside),
        nn.LeakyReLU(SLOPE),
    )


class Twice(nn.Module):
    """Repeats every pixel in both directions; its gradient is the same on every run."""

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        """Give the maps with their sides doubled."""
        count, channels, rows, columns = maps_NCHW.shape
        wide = maps_NCHW[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2)
        return wide.reshape(count, channels, 2 * rows, 2 * columns)


class Residual(nn.Module):
    """A pre-activation residual block (He et al. 2016, arXiv:1603.05027) between two sizes.

    ``resize`` is -1 to halve the sides by averaging, 1 to double them by repeating. With
    ``groups`` 1 the normalisation is a LayerNorm over channels and places.
    """

    def __init__(self, inside: int, outside: int, resize: int, groups: int = GROUPS) -> None:
        super().__init__()
        before = Twice() if resize > 0 else nn.Identity()
        after = nn.AvgPool2d(2) if resize < 0 else nn.Identity()
        self.body = nn.Sequential(
            nn.GroupNorm(groups, inside),
            nn.LeakyReLU(SLOPE),
            before,
            nn.Conv2d(inside, outside, 3, padding=1, bias=False),  # the next norm takes it out
            nn.GroupNorm(groups, outside),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(outside, outside, 3, padding=1),
            after,
        )
        # Repeating comes last here: it gives the same, from a quarter of the places.
        self.shortcut = nn.Sequential(after, nn.Conv2d(inside, outside, 1, bias=False), before)

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        """Give the block's maps, their sides halved, kept or doubled."""
        found: Tensor = self.body(maps_NCHW) + self.shortcut(maps_NCHW)
        return found


def residual_down(widths: Sequence[int], groups: int = GROUPS) -> nn.Sequential:
    """Give a stack from one channel to the last width that halves the sides once a width."""
    steps = pairwise((widths[0], *widths))
    return nn.Sequential(
        nn.Conv2d(1, widths[0], 3, padding=1), *(Residual(a, b, -1, groups) for a, b in steps)
    )


def residual_up(widths: Sequence[int]) -> nn.Sequential:
    """Give the way back: from maps of the last width to one channel, doubling once a width."""
    steps = pairwise((*reversed(widths), widths[0]))
    return nn.Sequential(
        *(Residual(a, b, 1) for a, b in steps),
        nn.GroupNorm(GROUPS, widths[0]),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(widths[0], 1, 3, padding=1),
    )


def side_px(size_px: int, widths: Sequence[int]) -> int:
    """Give the sides of the last map when each width halves them.

    Raises:
        BadParams: the size or a width does not divide.
    """
    if size_px % 2 ** len(widths) or any(width % GROUPS for width in widths):
        msg = (
            f"size_px {size_px} must be divisible by 2 once a width, and each of the widths "
            f"{list(widths)} by {GROUPS}"
        )
        raise BadParams(msg)
    return int(size_px // 2 ** len(widths))


def to_vector(width: int, side: int, features: int) -> nn.Sequential:
    """Give the step from the last map to a code."""
    return nn.Sequential(nn.Flatten(), nn.Linear(width * side**2, features))


def to_map(features: int, width: int, side: int) -> nn.Sequential:
    """Give the step from a code to the first map of the way back."""
    return nn.Sequential(nn.Linear(features, width * side**2), nn.Unflatten(1, (width, side, side)))
