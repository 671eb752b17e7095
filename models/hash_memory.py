"""A memory of healthy codes that is addressed by short binary codes, learned or only filled.

Source:   Chen et al. 2021, IEEE TMI, doi 10.1109/TMI.2020.3045295, section III-C (eq. 5 to 9).
Differs:  the sigmoid that section IV-A names stands before eq. 6, whose 0.5 has no sense without
          it; eq. 7 sums over the bits; the softmax of eq. 8 is over the negative distance, since
          as printed the farther slot weighs more. Eq. 6 and 9 have no gradient, and the paper
          gives no other: here bits pass the sigmoid's gradient back, and the choice of a slot
          that of the softmax over all, so that slots, hash layer and encoder learn. A slot that
          was not chosen for ``idle`` batches starts anew from a query of the batch, as all do
          in the first batches: of random slots all images would choose one or two.

Shapes: P queries, F features, M slots, B bits, W words, K nearest slots.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contract import BadParams
from models.hashing import WORD, hamming, nearest, nearest_few, pack

Address = Literal["hard", "soft"]
FEW: Final = 8
"""Slots that a soft address mixes."""
HALF: Final = 0.5


class EmptyBank(RuntimeError):
    """The bank holds nothing yet; let the detector settle on healthy images first."""


@dataclass(frozen=True, slots=True)
class _Table:
    """The slots' codes, and the weights that they were made of."""

    made_of: tuple[tuple[int, int], ...]
    chance_MB: Tensor
    code_MW: Tensor


def straight(chance_PB: Tensor) -> Tensor:
    """Give the bits, exactly 0 or 1, whose gradient is that of the chances."""
    return (chance_PB > HALF).float() + (chance_PB - chance_PB.detach())


def differing(query_PB: Tensor, slot_MB: Tensor) -> Tensor:
    """Give the Hamming distances of bits as floats, with a gradient, (P, M)."""
    both_PM = query_PB @ slot_MB.T
    return query_PB.sum(1)[:, None] + slot_MB.sum(1) - 2 * both_PM


class HashMemory(nn.Module):
    """M slots of F features, and the layer that hashes slots and queries alike.

    ``bits`` is divisible by 64; ``few`` are the slots of a soft address; ``idle`` 0 lets no slot
    start anew. Looking up, without a gradient, changes nothing.
    """

    idle_M: Tensor

    def __init__(
        self,
        slots: int,
        features: int,
        *,
        bits: int = 128,
        address: Address = "hard",
        few: int = FEW,
        idle: int = 50,
    ) -> None:
        super().__init__()
        if bits % WORD or address not in ("hard", "soft"):
            msg = f"bits {bits} must be divisible by {WORD}, and address hard or soft: {address}"
            raise BadParams(msg)
        self.hash = nn.Linear(features, bits)
        self.few = 1 if address == "hard" else few
        self.idle = idle
        self._table: _Table | None = None
        self._make_slots(slots, features)

    def forward(self, query_PF: Tensor) -> Tensor:
        """Give what is stored nearest to each query, (P, F)."""
        with torch.autocast(query_PF.device.type, enabled=False):
            if torch.is_grad_enabled():
                return self._learning(query_PF.float())
            index_PK, weight_PK = self.look_up(query_PF.float())
            found_PKF = self.stored()[index_PK].float()
            return (weight_PK[..., None] * found_PKF).sum(1)

    def stored(self) -> Tensor:
        """Give the slots (M, F)."""
        return self.slots_MF

    @torch.no_grad()
    def look_up(self, query_PF: Tensor) -> tuple[Tensor, Tensor]:
        """Give the slots addressed and their weights, each (P, K), by packed codes."""
        table, chance_PB = self._codes(), self._chances(query_PF)
        distance_PM = hamming(pack(chance_PB > HALF), table.code_MW)
        if self.few == 1:
            index_P1 = nearest(distance_PM, chance_PB, table.chance_MB)[:, None]
            return index_P1, torch.ones_like(index_P1, dtype=torch.float32)
        index_PK = nearest_few(distance_PM, self.few)
        return index_PK, (-distance_PM.gather(1, index_PK).float()).softmax(1)

    def _make_slots(self, slots: int, features: int) -> None:
        self.slots_MF = nn.Parameter(torch.randn(slots, features))
        # All begin idle: random numbers lie nowhere near the codes of images.
        self.register_buffer("idle_M", torch.full((slots,), self.idle, dtype=torch.int64))

    def _chances(self, code_PF: Tensor) -> Tensor:
        chance_PB: Tensor = self.hash(code_PF).sigmoid()
        return chance_PB

    def _codes(self) -> _Table:
        """Give the table of codes, made again only when what it is made of has changed."""
        own = (self.stored(), self.hash.weight, self.hash.bias)
        made_of = tuple((each.data_ptr(), each._version) for each in own)  # noqa: SLF001 - the only sign of a change in place
        if self._table is None or self._table.made_of != made_of:
            chance_MB = self._chances(own[0].float())
            self._table = _Table(made_of, chance_MB, pack(chance_MB > HALF))
        return self._table

    def _learning(self, query_PF: Tensor) -> Tensor:
        if self.training:
            self._start_anew(query_PF.detach())
        query_PB, slot_MB = self._chances(query_PF), self._chances(self.slots_MF)
        distance_PM = differing(straight(query_PB), straight(slot_MB))
        if self.few == 1:
            index_PK = nearest(distance_PM.detach(), query_PB.detach(), slot_MB.detach())[:, None]
            likely_PM = (-distance_PM).softmax(1)
            chosen_PM = F.one_hot(index_PK[:, 0], len(slot_MB)).float()
            weight_PM = chosen_PM + (likely_PM - likely_PM.detach())
        else:
            index_PK = nearest_few(distance_PM.detach(), self.few)
            far_PM = torch.ones_like(distance_PM, dtype=torch.bool).scatter(
                1, index_PK, value=False
            )
            weight_PM = (-distance_PM).masked_fill(far_PM, -torch.inf).softmax(1)
        if self.training:
            self._note(index_PK)
        return weight_PM @ self.slots_MF

    @torch.no_grad()
    def _note(self, index_PK: Tensor) -> None:
        self.idle_M += 1
        self.idle_M[index_PK.flatten()] = 0

    @torch.no_grad()
    def _start_anew(self, query_PF: Tensor) -> None:
        """Put queries of this batch into slots long idle; drawn on the CPU, alike everywhere."""
        dead_D = (self.idle_M >= self.idle).nonzero()[:, 0][: len(query_PF)]
        if not self.idle or not len(dead_D):
            return
        drawn_D = torch.randperm(len(query_PF))[: len(dead_D)].to(query_PF.device)
        self.slots_MF[dead_D] = query_PF[drawn_D]
        self.idle_M[dead_D] = 0


class Bank(HashMemory):
    """A memory that learns nothing: half precision codes of healthy images, hashed by chance.

    With a gradient queries pass unchanged, so that the rest learns as a plain autoencoder.
    """

    bank_MF: Tensor
    filled: Tensor

    def stored(self) -> Tensor:
        """Give the codes held (M, F), float16.

        Raises:
            EmptyBank: nothing was filled in.
        """
        if not self.filled:
            msg = "the bank of healthy codes is empty; let the detector settle on healthy images"
            raise EmptyBank(msg)
        return self.bank_MF[: int(self.filled)]

    @torch.no_grad()
    def fill(self, queries: Iterable[Tensor]) -> None:
        """Hold as many of the queries (P, F) as there are slots, each as likely as any other.

        The edge of every bit is laid through their mean, so that it tells them apart.
        """
        generator = torch.Generator().manual_seed(0)
        kept_RF, lot_R = self.bank_MF[:0].float(), torch.zeros(0)
        for query_PF in queries:
            lot_R = torch.cat([lot_R, torch.rand(len(query_PF), generator=generator)])
            slots = min(len(lot_R), len(self.bank_MF))
            lot_R, index_R = lot_R.topk(slots, largest=False)
            kept_RF = torch.cat([kept_RF, query_PF.float()])[index_R.to(kept_RF.device)]
        self.bank_MF[: len(kept_RF)] = kept_RF.half()
        self.filled.fill_(len(kept_RF))
        self.hash.bias.copy_(-self.hash.weight @ kept_RF.mean(0))

    def _make_slots(self, slots: int, features: int) -> None:
        self.hash.requires_grad_(requires_grad=False)
        self.register_buffer("bank_MF", torch.zeros(slots, features, dtype=torch.float16))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def _learning(self, query_PF: Tensor) -> Tensor:
        return query_PF
