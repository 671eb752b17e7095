"""One training loop for every family that learns by gradient.

Nothing random is carried from one epoch to the next: each epoch draws from generators seeded by
(seed, epoch), and the learning rate is a function of the step. So a run that was killed and
resumed ends in the same weights as one that was not.

Shapes: N images, C channels, H W rows and columns.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from models.checkpoint import Run, State, WrongRun, copy, keep, restore
from models.contract import Batch, Detector
from models.curves import Epoch, draw, table
from models.files import write_atomically
from models.jitter import jitter


class Plan(BaseModel):
    """How to train. A checkpoint is carried on only under the plan it was begun with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: PositiveInt = 60
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-4
    warm_up: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the steps over which the learning rate rises before its cosine fall."""
    clip_norm: PositiveFloat = 1.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the weights' moving average, which is what is kept; 0 keeps the last weights."""
    patience: PositiveInt = 15
    """Epochs without a lower held-out loss before training stops."""
    jitter: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Strength of the augmentation; 0 is none."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Images:
    """Healthy images only, voxels_NCHW in [0, 1]; no patient is in both."""

    train: Tensor
    held_out: Tensor


def fit(
    detector: Detector,
    images: Images,
    plan: Plan,
    folder: Path,
    *,
    resume: bool = False,
    progress: Callable[[Epoch], None] | None = None,
) -> tuple[Epoch, ...]:
    """Train in place, on the detector's own device, and leave it with the best averaged weights.

    The run folder gets a checkpoint and curves.csv after every epoch, and curves.svg at the end.
    With ``resume`` a run found there is carried on; without, it begins anew. Give the history.

    Raises:
        WrongRun: the checkpoint belongs to another plan, or the loss is no longer finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(
        detector.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
    )
    identity = plan.model_dump(mode="json")
    run = restore(folder, identity, detector, optimizer) if resume else None
    run = run or Run(average=copy(detector.state_dict()), best={}, history=[])
    while not _is_over(run, plan):
        with torch.random.fork_rng(_cuda(detector)):
            run.history.append(_epoch(detector, optimizer, run, images, plan))
        if run.best_epoch is run.history[-1]:
            run.best = copy(run.average)
        keep(folder, identity, run, detector, optimizer)
        write_atomically(folder / "curves.csv", table(run.history))
        if progress:
            progress(run.history[-1])
    write_atomically(folder / "curves.svg", draw(run.history))
    detector.load_state_dict(run.best)
    detector.eval()
    return tuple(run.history)


def _is_over(run: Run, plan: Plan) -> bool:
    if not run.history:
        return False
    stale = len(run.history) - run.best_epoch.number
    return len(run.history) >= plan.epochs or stale >= plan.patience


def _epoch(
    detector: Detector, optimizer: torch.optim.AdamW, run: Run, images: Images, plan: Plan
) -> Epoch:
    number = len(run.history) + 1
    torch.manual_seed(plan.seed * 1_000_003 + number)
    generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + number)
    order = torch.randperm(len(images.train), generator=generator)
    device = next(detector.parameters()).device
    losses, rate = [], 0.0
    detector.train()
    for index in torch.split(order, plan.batch_size):
        voxels_NCHW = images.train[index].to(device)
        if plan.jitter:
            voxels_NCHW = jitter(voxels_NCHW, plan.jitter, generator)
        rate = _rate(run.step, math.ceil(len(order) / plan.batch_size) * plan.epochs, plan)
        losses.append(_step(detector, optimizer, voxels_NCHW, rate, plan.clip_norm))
        run.step += 1
        _follow(run, detector, plan.average)
    return Epoch(
        number=number,
        loss=sum(losses) / len(losses),
        held_out_loss=_held_out(detector, run.average, images.held_out, plan.batch_size),
        learning_rate=rate,
    )


def _step(
    detector: Detector,
    optimizer: torch.optim.AdamW,
    voxels_NCHW: Tensor,
    rate: float,
    clip_norm: float,
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    kind = voxels_NCHW.device.type
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=kind == "cuda"):
        loss = detector.loss(Batch(voxels_NCHW)).total
    if not torch.isfinite(loss):
        msg = "the loss is no longer finite; lower the learning rate"
        raise WrongRun(msg)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(detector.parameters(), clip_norm)
    optimizer.step()
    return loss.item()


def _rate(step: int, steps: int, plan: Plan) -> float:
    rise = max(1, round(plan.warm_up * steps))
    if step < rise:
        return plan.learning_rate * (step + 1) / rise
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


@torch.no_grad()
def _follow(run: Run, detector: Detector, decay: float) -> None:
    decay = min(decay, run.step / (run.step + 10))
    for name, value in detector.state_dict().items():
        mean = run.average[name]
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


@torch.no_grad()
def _held_out(detector: Detector, average: State, held_out: Tensor, batch_size: int) -> float:
    """Give the mean loss of the averaged weights, which are put in place for it and taken out."""
    device = next(detector.parameters()).device
    training = copy(detector.state_dict())
    detector.load_state_dict(average)
    detector.eval()
    total = sum(
        float(detector.loss(Batch(batch.to(device))).total) * len(batch)
        for batch in torch.split(held_out, batch_size)
    )
    detector.load_state_dict(training)
    return total / len(held_out)


def _cuda(detector: Detector) -> list[torch.device]:
    device = next(detector.parameters()).device
    return [device] if device.type == "cuda" else []
