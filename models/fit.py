"""One training loop for every family that learns by gradient: stages, and players in turns.

Nothing random is carried from one epoch to the next: each epoch draws from generators seeded by
(seed, epoch), and the learning rate is a function of the step. So a run that was killed at any
epoch of any stage and resumed ends in the same weights as one that was not. A family keeps what
it learns in its state dict, buffers included; anything else would be lost in a kill.

``models.turns`` says what moves and what stands still.

Shapes: N images, C channels, H W rows and columns.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from models.checkpoint import Run, WrongRun, copy, keep, restore
from models.contract import Batch, Detector, Loss, Stage
from models.curves import Epoch, draw, table
from models.files import write_atomically
from models.jitter import jitter
from models.plan import Images, Labels, Plan, epochs_of, rate_at
from models.turns import NotFinite, Turn, remembered, remind, set_modes, standing_still, turns

__all__: Final = ["Images", "Labels", "Plan", "epochs_of", "fit"]


def fit(
    detector: Detector,
    images: Images,
    plan: Plan,
    folder: Path,
    *,
    resume: bool = False,
    progress: Callable[[Epoch], None] | None = None,
) -> tuple[Epoch, ...]:
    """Train in place, on the detector's own device, stage by stage; give the history.

    Each stage leaves the averaged weights of its best epoch, or of its last where it watches
    nothing, and the next begins with them. The run folder gets a checkpoint and
    curves-STAGE.csv after every epoch, and curves-STAGE.svg at the end of a stage. With
    ``resume`` a run found there is carried on; without, it begins anew.

    Raises:
        WrongRun: the checkpoint belongs to another plan, detector or images, or a loss is no
            longer finite.
        ValueError: the family's stages contradict themselves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    identity = _identity(detector, images, plan)
    run = (restore(folder, identity, detector) if resume else None) or Run({}, {}, [])
    stages = detector.stages()
    if len({stage.name for stage in stages}) < len(stages):
        msg = "two stages of the detector have one name"
        raise ValueError(msg)
    training = _Training(detector, images, plan, run)
    with (
        standing_still(detector) as moved,
        torch.backends.cudnn.flags(deterministic=True, benchmark=False),
    ):
        for stage in stages[run.stage :]:
            for epoch in training.epochs(stage, moved):
                keep(folder, identity, run, detector)
                write_atomically(folder / f"curves-{stage.name}.csv", table(training.past(stage)))
                if progress:
                    progress(epoch)
            write_atomically(folder / f"curves-{stage.name}.svg", draw(training.past(stage)))
            training.end()
    detector.eval()
    return tuple(run.history)


@dataclass(slots=True)
class _Training:
    detector: Detector
    images: Images
    plan: Plan
    run: Run

    def past(self, stage: Stage) -> list[Epoch]:
        """Give the epochs of a stage so far."""
        return [epoch for epoch in self.run.history if epoch.stage == stage.name]

    def epochs(self, stage: Stage, moved: tuple[nn.Parameter, ...]) -> Iterator[Epoch]:
        """Run a stage's epochs, one a turn of the iterator, with the run as it is after each."""
        run = self.run
        run.average = run.average or copy(self.detector.state_dict())
        players = turns(stage, moved, self.plan.weight_decay)
        for each in players:
            remind(each.optimizer, run.moments.get(each.player.name, {}))
        while not self._is_over(stage):
            with torch.random.fork_rng(_cuda(self.detector)):
                epoch = self._epoch(stage, players)
            run.history.append(epoch)
            if run.best_epoch is epoch:
                run.best = copy(run.average)
            run.moments = {each.player.name: remembered(each.optimizer) for each in players}
            yield epoch

    def end(self) -> None:
        """Take the weights the stage keeps, and be ready for the next stage."""
        self.detector.load_state_dict(self.run.best)
        self.run.stage += 1
        self.run.step, self.run.average, self.run.best, self.run.moments = 0, {}, {}, {}

    def _is_over(self, stage: Stage) -> bool:
        past = self.past(stage)
        if not past:
            return False
        stale = past[-1].number - self.run.best_epoch.number
        return len(past) >= epochs_of(stage, self.plan) or stale >= self.plan.patience

    def _epoch(self, stage: Stage, players: tuple[Turn, ...]) -> Epoch:
        number = len(self.run.history) + 1
        torch.manual_seed(self.plan.seed * 1_000_003 + number)
        generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + number)
        order = torch.randperm(len(self.images.train), generator=generator)
        batches = torch.split(order, self.plan.batch_size)
        steps = len(batches) * epochs_of(stage, self.plan)
        said = _Said()
        rate = 0.0
        set_modes(self.detector, stage)
        for index in batches:
            batch = self._batch(self.images.train[index], self.images.train_labels, index)
            if self.plan.jitter:
                moved = jitter(batch.voxels_NCHW, self.plan.jitter, generator)
                batch = Batch(moved, batch.organ_N, batch.modality_N)
            rate = rate_at(self.run.step, steps, self.plan)
            self.run.step += 1
            for each in players:
                self._play(each, batch, rate, said, f"stage {stage.name!r}, epoch {number}")
            _follow(self.run, self.detector, self.plan.average)
        return Epoch(
            number=number,
            loss=said.mean(_leader(stage)),
            held_out_loss=self._held_out(stage, number),
            learning_rate=rate,
            stage=stage.name,
            place=len(self.past(stage)) + 1,
            parts=said.parts(alone=len(stage.players) == 1),
        )

    def _play(self, turn: Turn, batch: Batch, rate: float, said: "_Said", where: str) -> None:
        if self.run.step % turn.player.every:
            return
        for _ in range(turn.player.turns):
            try:
                said.note(turn.player.name, turn.step(batch, rate, self.plan.clip_norm))
            except NotFinite as why:
                where = f"{where}, player {turn.player.name!r}, step {self.run.step} of the stage"
                raise _no_number(why, where, self.plan) from None

    @torch.no_grad()
    def _held_out(self, stage: Stage, number: int) -> float | None:
        """Give the mean loss of the averaged weights, which are put in place and taken out."""
        if stage.watch is None:
            return None
        training = copy(self.detector.state_dict())
        self.detector.load_state_dict(self.run.average)
        self.detector.eval()
        held_out, total = self.images.held_out, 0.0
        for index in torch.split(torch.arange(len(held_out)), self.plan.batch_size):
            batch = self._batch(held_out[index], self.images.held_out_labels, index)
            total += float(stage.watch(batch)) * len(index)
        self.detector.load_state_dict(training)
        if not math.isfinite(total):
            why = NotFinite("the held-out loss is no longer finite")
            raise _no_number(why, f"stage {stage.name!r}, epoch {number}", self.plan)
        return total / len(held_out)

    def _batch(self, voxels_NCHW: Tensor, labels: Labels, index: Tensor) -> Batch:
        """Give a batch on the detector's device that shares no memory with the images' labels."""
        device = next(self.detector.parameters()).device
        organ_N, modality_N = (
            None if known is None else known[index].to(device)
            for known in (labels.organ_N, labels.modality_N)
        )
        return Batch(voxels_NCHW.to(device), organ_N, modality_N)


class _Said:
    """The losses of an epoch, summed where they lie, so that a GPU is not asked every step."""

    def __init__(self) -> None:
        self._totals: dict[str, list[Tensor]] = defaultdict(list)
        self._parts: dict[tuple[str, str], list[Tensor]] = defaultdict(list)

    def note(self, player: str, loss: Loss) -> None:
        self._totals[player].append(loss.total)
        for name, value in loss.parts.items():
            self._parts[player, name].append(value)

    def mean(self, player: str) -> float:
        """Give the mean total of a player; 0 where it never played in this epoch."""
        return _mean(self._totals.get(player, []))

    def parts(self, *, alone: bool) -> dict[str, float]:
        return {
            name if alone else f"{player}/{name}": _mean(values)
            for (player, name), values in self._parts.items()
        }


def _mean(values: list[Tensor]) -> float:
    return math.fsum(value.item() for value in values) / len(values) if values else 0.0


def _leader(stage: Stage) -> str:
    coders = [player for player in stage.players if player.encodes]
    return (coders or list(stage.players))[0].name


def _identity(detector: Detector, images: Images, plan: Plan) -> dict[str, Any]:
    """Give what a run must have in common with the one it carries on."""
    digest = hashlib.sha256()
    labels = (images.train_labels, images.held_out_labels)
    known = (each for two in labels for each in (two.organ_N, two.modality_N))
    for each in (images.train, images.held_out, *known):
        digest.update(b"none" if each is None else each.contiguous().cpu().numpy().data)
    return {
        "plan": plan.model_dump(mode="json"),
        "family": type(detector).__name__,
        "params": detector.params,
        "images": digest.hexdigest(),
    }


def _no_number(why: NotFinite, where: str, plan: Plan) -> WrongRun:
    lower = plan.learning_rate / 3
    msg = f"{where}: {why}; lower plan.learning_rate (say to {lower:.2g}) and train anew"
    return WrongRun(msg)


@torch.no_grad()
def _follow(run: Run, detector: Detector, decay: float) -> None:
    decay = min(decay, run.step / (run.step + 10))
    for name, value in detector.state_dict().items():
        mean = run.average[name]
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _cuda(detector: Detector) -> list[torch.device]:
    device = next(detector.parameters()).device
    return [device] if device.type == "cuda" else []
