"""Whose turn it is: what each player of a stage moves, and what stands still meanwhile.

In a turn only the player's own parameters take a gradient; what it needs of the others flows
through them and leaves nothing behind. Parameters that no player of the stage moves, and those
that the family froze itself (``requires_grad`` off before the training), never change. A module
learns in training mode where a player of the stage holds it, or holds something inside it;
every other module stays in evaluation mode, so that a frozen part's dropout and running moments
rest.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.checkpoint import State
from models.contract import Batch, Detector, Loss, Player, Stage

OPTIMIZERS: Final = ("adamw", "adam", "rmsprop")


class NotFinite(ValueError):
    """The loss or its gradient is no longer a number; the message names the part."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One player, its parameters and its optimiser."""

    player: Player
    parameters: tuple[nn.Parameter, ...]
    optimizer: Optimizer

    def step(self, batch: Batch, rate: float, clip_norm: float) -> Loss:
        """Move the player's parameters once; the loss comes back without its graph.

        Raises:
            NotFinite: nothing was moved.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate * self.player.rate
        kind = batch.voxels_NCHW.device.type
        with _moving(self.parameters):
            with torch.autocast(kind, dtype=torch.bfloat16, enabled=kind == "cuda"):
                loss = self.player.loss(batch)
            _refuse_no_number(loss)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss.total)
            norm = nn.utils.clip_grad_norm_(self.parameters, clip_norm)
            if not torch.isfinite(norm):
                msg = "the gradient is no longer finite"
                raise NotFinite(msg)
            self.optimizer.step()
        parts = {name: part.detach() for name, part in loss.parts.items()}
        return Loss(total=loss.total.detach(), parts=parts)


def turns(stage: Stage, moved: Collection[nn.Parameter], weight_decay: float) -> tuple[Turn, ...]:
    """Give the stage's players an optimiser each, over those of their parameters in ``moved``.

    Raises:
        ValueError: two players move one parameter, one moves none, or an optimiser is unknown.
    """
    known, taken, found = set(moved), set[nn.Parameter](), []
    for player in stage.players:
        every = (each for module in player.modules for each in module.parameters())
        own = tuple(dict.fromkeys(each for each in every if each in known))
        if not own or taken & set(own):
            why = "moves no parameter" if not own else "moves what another player moves"
            msg = f"stage {stage.name!r}: player {player.name!r} {why}"
            raise ValueError(msg)
        taken |= set(own)
        found.append(Turn(player, own, _optimizer(player, own, weight_decay)))
    return tuple(found)


def set_modes(detector: Detector, stage: Stage) -> None:
    """Put into training mode what the stage's players hold, and into evaluation mode the rest."""
    held = {
        inner for player in stage.players for module in player.modules for inner in module.modules()
    }
    for module in detector.modules():
        module.training = not held.isdisjoint(module.modules())


@contextmanager
def standing_still(detector: Detector) -> Iterator[tuple[nn.Parameter, ...]]:
    """Let no parameter take a gradient, and give those that did; afterwards they may again."""
    moved = tuple(each for each in detector.parameters() if each.requires_grad)
    for each in moved:
        each.requires_grad = False
    try:
        yield moved
    finally:
        for each in moved:
            each.requires_grad = True
            each.grad = None


def remembered(own: Optimizer) -> dict[int, State]:
    """Give what an optimiser remembers of each of its parameters."""
    found: dict[int, State] = own.state_dict()["state"]
    return found


def remind(own: Optimizer, moments: Mapping[int, State]) -> None:
    """Put back what an optimiser remembered."""
    own.load_state_dict({"state": moments, "param_groups": own.state_dict()["param_groups"]})


@contextmanager
def _moving(parameters: tuple[nn.Parameter, ...]) -> Iterator[None]:
    for each in parameters:
        each.requires_grad = True
    try:
        yield
    finally:
        for each in parameters:
            each.requires_grad = False
            each.grad = None


def _refuse_no_number(loss: Loss) -> None:
    if torch.isfinite(loss.total):
        return
    wrong = [name for name, part in loss.parts.items() if not _is_finite(part)]
    msg = f"the loss is no longer finite ({', '.join(wrong) or 'the sum of its parts'})"
    raise NotFinite(msg)


def _is_finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value).all())


def _optimizer(player: Player, own: tuple[nn.Parameter, ...], weight_decay: float) -> Optimizer:
    if player.optimizer == "adamw":
        return torch.optim.AdamW(own, betas=player.betas, weight_decay=weight_decay)
    if player.optimizer == "adam":
        return torch.optim.Adam(own, betas=player.betas)
    if player.optimizer == "rmsprop":
        return torch.optim.RMSprop(own)
    msg = f"player {player.name!r}: optimizer is one of {', '.join(OPTIMIZERS)}"
    raise ValueError(msg)
