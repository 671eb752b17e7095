"""Memories that know where in the image they are asked.

Source:   Xiang et al. 2023, arXiv:2111.13495 (SQUID) and 2024, arXiv:2403.08689 (SimSID), with
          their public code; the levels of Swetha R 2025 (Anna University), algorithm 4.5.

Shapes: N images, P places of a square grid in rows, F features, M slots, L levels;
C channels, H W rows and columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Keeping = Literal["learned", "queue"]


def cut(maps_NCHW: Tensor, grid: int) -> Tensor:
    """Cut each map into grid by grid pieces, in rows: (N P, C, H / grid, W / grid)."""
    count, channels, rows, columns = maps_NCHW.shape
    parts = maps_NCHW.reshape(count, channels, grid, rows // grid, grid, columns // grid)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, rows // grid, columns // grid)


def stitch(pieces_NCHW: Tensor, grid: int) -> Tensor:
    """Put together what ``cut`` cut."""
    _, channels, rows, columns = pieces_NCHW.shape
    parts = pieces_NCHW.reshape(-1, grid, grid, channels, rows, columns)
    return parts.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, grid * rows, grid * columns)


def strongest(weight_NPM: Tensor, kept: int) -> Tensor:
    """Keep the ``kept`` largest weights of each row, summing to 1; the gradient is that of all."""
    value, index = weight_NPM.detach().topk(min(kept, weight_NPM.shape[-1]), dim=-1)
    value = value / value.sum(-1, keepdim=True)
    few_NPM = torch.zeros_like(weight_NPM).scatter(-1, index, value)
    return few_NPM + (weight_NPM - weight_NPM.detach())


@dataclass(frozen=True, slots=True)
class Asking:
    """How a memory keeps its slots, and how it is asked."""

    keeping: Keeping = "learned"
    """Slots are learned, or a queue of the features met last, which ``remember`` fills."""
    kept: int = 5
    """Slots in an answer."""
    temperature: float = 0.1
    """By which cosines are divided."""
    gumbel: float = 0.0
    """Strength of the Gumbel noise on the addresses, in training alone."""


class SpaceMemory(nn.Module):
    """M slots of F features for each place; a place is answered from its own slots alone.

    The answer is a mixture of the few slots nearest by cosine.
    """

    bits_PMF: Tensor

    def __init__(self, places: int, slots: int, features: int, asking: Asking) -> None:
        super().__init__()
        self.asking = asking
        start_PMF = torch.randn(places, slots, features) / features**0.5
        self.learned_PMF = nn.Parameter(start_PMF) if asking.keeping == "learned" else None
        if self.learned_PMF is None:
            # As integers, so that a moving average of the weights takes the queue as it is and
            # does not blend the features of different images.
            self.register_buffer("bits_PMF", start_PMF.view(torch.int32))
        self._asked_NPF: Tensor | None = None

    def slots(self) -> Tensor:
        """Give the slots of every place (P, M, F)."""
        if self.learned_PMF is None:
            return self.bits_PMF.view(torch.float32)
        return self.learned_PMF

    def forward(self, query_NPF: Tensor) -> tuple[Tensor, Tensor]:
        """Give the answers (N, P, F), and the cosine of each query to its nearest slot (N, P)."""
        slots_PMF = self.slots()
        alike_NPM = torch.einsum(
            "npf,pmf->npm", F.normalize(query_NPF, dim=-1), F.normalize(slots_PMF, dim=-1)
        ).float()
        logit_NPM = alike_NPM / self.asking.temperature
        if self.training:
            self._asked_NPF = query_NPF.detach()
            if self.asking.gumbel:
                logit_NPM = logit_NPM + self.asking.gumbel * _gumbel(logit_NPM)
        weight_NPM = strongest(logit_NPM.softmax(-1), self.asking.kept)
        return torch.einsum("npm,pmf->npf", weight_NPM, slots_PMF), alike_NPM.amax(-1)

    def remember(self) -> None:
        """Put what was asked last in training into the queue; the oldest leave it."""
        if self.learned_PMF is not None or self._asked_NPF is None:
            return
        slots_PMF = self.slots()
        new_PMF = self._asked_NPF.transpose(0, 1).to(slots_PMF)
        self._asked_NPF = None
        together_PMF = torch.cat([slots_PMF, new_PMF], dim=1)[:, -slots_PMF.shape[1] :]
        self.bits_PMF = together_PMF.contiguous().view(torch.int32)


class HierarchicalMemory(nn.Module):
    """Memories of a grid's patches, of its 2 by 2 blocks, and of the whole, asked together.

    ``slots`` are those of each level, one to three: a patch asks with its features, a block with
    their mean, the whole with their largest. What a patch gets of the levels is put side by side
    and projected; of one level it gets the answer itself.
    """

    def __init__(self, grid: int, slots: Sequence[int], features: int, asking: Asking) -> None:
        super().__init__()
        self.grid = grid
        places = (grid**2, (grid // 2) ** 2, 1)
        self.levels = nn.ModuleList(
            SpaceMemory(count, size, features, asking)
            for count, size in zip(places, slots, strict=False)
        )
        several = len(slots) > 1
        self.project = nn.Linear(len(slots) * features, features) if several else nn.Identity()

    def forward(self, query_NPF: Tensor) -> tuple[Tensor, Tensor]:
        """Give what each patch is answered (N, P, F), and its likeness to its slots (N, P)."""
        answers, alikes = [], []
        for level, memory in enumerate(self.levels):
            answer_NPF, alike_NP = memory(self._query(query_NPF, level))
            answers.append(self._spread(answer_NPF, level))
            alikes.append(alike_NP)
        return self.project(torch.cat(answers, -1)), alikes[0]

    def _query(self, query_NPF: Tensor, level: int) -> Tensor:
        if level == 0:
            return query_NPF
        if level == 1:
            return self._blocks(query_NPF).mean((2, 4)).flatten(1, 2)
        return query_NPF.amax(1, keepdim=True)

    def _spread(self, answer_NPF: Tensor, level: int) -> Tensor:
        """Give every patch its block's answer, or that of the whole."""
        if level == 0:
            return answer_NPF
        count, _, features = answer_NPF.shape
        if level == 1:
            half = self.grid // 2
            block = answer_NPF.reshape(count, half, 1, half, 1, features)
            return block.expand(-1, -1, 2, -1, 2, -1).reshape(count, self.grid**2, features)
        return answer_NPF.expand(-1, self.grid**2, -1)

    def _blocks(self, query_NPF: Tensor) -> Tensor:
        half = self.grid // 2
        return query_NPF.reshape(len(query_NPF), half, 2, half, 2, -1)


def _gumbel(like: Tensor) -> Tensor:
    # Drawn on the CPU, so that every device sees the same noise.
    drawn = torch.rand(like.shape).clamp(1e-6, 1 - 1e-6)
    return -(-drawn.log()).log().to(like.device)
