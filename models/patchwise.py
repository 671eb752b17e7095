"""The parts of SimSID that work patch by patch: encoder, in-painting, decoder.

Source:   Xiang et al. 2023, arXiv:2111.13495 (SQUID) and 2024, arXiv:2403.08689 (SimSID), with
          their public code. Patches of an image lie one after the other along N.

Shapes: N images or patches, P places of a square grid in rows, F features, C channels,
H W rows and columns.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Literal

import torch
from torch import Tensor, nn

from models.parts import GROUPS, SLOPE, Residual, Twice
from models.space_memory import HierarchicalMemory, SpaceMemory, cut, stitch

Sight = Literal["own", "blind"]
COARSE: Final = 2
"""Steps of the way back that work patch by patch, with the encoder's maps beside them."""
MASKED: Final = -1e4
"""Added to a logit that must not count; a bfloat16 holds it."""


class Encoder(nn.Module):
    """Halves the sides once a width, and gives the map of every size on the way."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, widths[0], 3, padding=1)
        self.steps = nn.ModuleList(Residual(a, b, -1) for a, b in pairwise((widths[0], *widths)))

    def forward(self, patches_NCHW: Tensor) -> list[Tensor]:
        """Give the maps, the largest first."""
        maps = [self.stem(patches_NCHW)]
        for step in self.steps:
            maps.append(step(maps[-1]))
        return maps


class InPainting(nn.Module):
    """Paints each place of a grid from what its up to eight neighbours were answered.

    With ``own`` sight a place asks its neighbours with its own features and adds what the memory
    answered it; with ``blind`` sight it asks with a learned vector and adds nothing, so that
    its own features reach it in no way.
    """

    away_PP: Tensor

    def __init__(self, grid: int, features: int, heads: int, sight: Sight = "own") -> None:
        super().__init__()
        self.heads, self.sight = heads, sight
        self.place_PF = nn.Parameter(torch.randn(grid**2, features) / features**0.5)
        # A bias of query or key would change no weight, or all alike.
        self.query = nn.Linear(features, features, bias=False)
        self.key = nn.Linear(features, features, bias=False)
        self.value = nn.Linear(features, features)
        self.out = nn.Linear(features, features)
        self.norm = nn.LayerNorm(features)
        inner = max(features // 4, 1)
        self.forth = nn.Sequential(
            nn.ReLU(), nn.Linear(features, inner), nn.ReLU(), nn.Linear(inner, features)
        )
        self.register_buffer("away_PP", MASKED * ~_neighbours(grid), persistent=False)

    def forward(self, query_NPF: Tensor, answer_NPF: Tensor) -> Tensor:
        """Give the painted features (N, P, F) from the patches' own and their answers."""
        around_NPF = self.attend(query_NPF, answer_NPF)
        if self.sight == "own":
            around_NPF = around_NPF + answer_NPF
        found_NPF = self.norm(around_NPF)
        painted: Tensor = found_NPF + self.forth(found_NPF)
        return painted

    def attend(self, query_NPF: Tensor, answer_NPF: Tensor) -> Tensor:
        """Give what each place takes from its neighbours' answers (N, P, F)."""
        asked_NPF = self.place_PF.expand_as(query_NPF)
        if self.sight == "own":
            asked_NPF = asked_NPF + query_NPF
        q, k, v = (
            layer(each).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, each in (
                (self.query, asked_NPF),
                (self.key, answer_NPF + self.place_PF),
                (self.value, answer_NPF),
            )
        )
        logit = (q @ k.transpose(-1, -2)).float() / q.shape[-1] ** 0.5 + self.away_PP
        taken = logit.softmax(-1).to(v.dtype) @ v
        found: Tensor = self.out(taken.transpose(1, 2).flatten(2))
        return found


class Bottleneck(nn.Module):
    """Puts what a memory knows in the place of the patches' last maps.

    ``widths`` are the channels of these and of what the memory is asked, ``side`` their rows.
    Without ``inpainting`` a patch gets what the memory answered it.
    """

    def __init__(
        self,
        widths: tuple[int, int],
        side: int,
        memory: HierarchicalMemory,
        inpainting: InPainting | None,
    ) -> None:
        super().__init__()
        outside, inside = widths
        self.shape = (inside, side, side)
        self.squeeze = nn.Conv2d(outside, inside, 1)
        self.memory = memory
        self.inpainting = inpainting
        self.expand = nn.Conv2d(inside, outside, 1)

    def forward(self, maps_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Give the maps in their place, and each patch's cosine to its nearest slot (N, P)."""
        inside, rows, columns = self.shape
        code_NCHW = self.squeeze(maps_NCHW)
        query_NPF = code_NCHW.reshape(-1, self.memory.grid**2, inside * rows * columns)
        answer_NPF, alike_NP = self.memory(query_NPF)
        if self.inpainting is not None:
            answer_NPF = self.inpainting(query_NPF, answer_NPF)
        return self.expand(answer_NPF.reshape(-1, *self.shape)), alike_NP


class Decoder(nn.Module):
    """The way back: patch by patch with the encoder's maps, then the stitched image.

    With ``memories`` what a patchwise step made is replaced by what its memory answers, which has
    a place for each quarter of a patch.
    """

    def __init__(self, widths: Sequence[int], grid: int, memories: Sequence[SpaceMemory]) -> None:
        super().__init__()
        self.grid = grid
        self.memories = nn.ModuleList(memories)
        steps = list(pairwise((*reversed(widths), widths[0])))
        self.twice = Twice()
        self.steps = nn.ModuleList(
            Residual(a + b if place < COARSE else a, b, 0) for place, (a, b) in enumerate(steps)
        )
        self.last = nn.Sequential(
            nn.GroupNorm(GROUPS, widths[0]),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(widths[0], 1, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, code_NCHW: Tensor, maps: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Give the image in (-1, 1) and what each step made, from patches' codes and maps."""
        found, made = code_NCHW, []
        for place, step in enumerate(self.steps):
            if place == COARSE:
                found = stitch(found, self.grid)
            found = self.twice(found)
            if place < COARSE:
                found = torch.cat([found, maps[-2 - place]], dim=1)
            found = step(found)
            if place < len(self.memories):
                found = self._recalled(found, self.memories[place])
            made.append(found)
        if len(self.steps) == COARSE:
            found = stitch(found, self.grid)
        return self.last(found), made

    def _recalled(self, maps_NCHW: Tensor, memory: nn.Module) -> Tensor:
        windows_NCHW = cut(stitch(maps_NCHW, self.grid), 2 * self.grid)
        query_NPF = windows_NCHW.reshape(-1, 4 * self.grid**2, windows_NCHW[0].numel())
        answer_NPF, _ = memory(query_NPF)
        answer = stitch(answer_NPF.reshape(windows_NCHW.shape), 2 * self.grid)
        return cut(answer, self.grid)


def _neighbours(grid: int) -> Tensor:
    """Give which places touch, by side or corner (P, P); none touches itself."""
    row_P, column_P = torch.arange(grid**2) // grid, torch.arange(grid**2) % grid
    apart = torch.maximum((row_P[:, None] - row_P).abs(), (column_P[:, None] - column_P).abs())
    return apart == 1
