"""How to train, and on what: the plan of a run and its images.

Shapes: N images, C channels, H W rows and columns.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from models.contract import Stage


class Plan(BaseModel):
    """How to train. A checkpoint is carried on only under the plan it was begun with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: PositiveInt = 60
    """Of a stage whose share is 1."""
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-4
    """Of AdamW; the other optimisers have none."""
    warm_up: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of a stage's steps over which the learning rate rises before its cosine fall."""
    clip_norm: PositiveFloat = 1.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the weights' moving average, which is what is kept; 0 keeps the last weights."""
    patience: PositiveInt = 15
    """Epochs without a lower held-out loss before a stage stops."""
    jitter: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Strength of the augmentation; 0 is none."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Labels:
    """What is known of each image, int64 indices into the training file's lists, or None."""

    organ_N: Tensor | None = None
    modality_N: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Images:
    """Healthy images only, voxels_NCHW in [0, 1]; no patient is in both. Never changed."""

    train: Tensor
    held_out: Tensor
    train_labels: Labels = Labels()
    held_out_labels: Labels = Labels()


def epochs_of(stage: Stage, plan: Plan) -> int:
    """Give how many epochs a stage may have."""
    return max(1, round(plan.epochs * stage.share))


def rate_at(step: int, steps: int, plan: Plan) -> float:
    """Give the learning rate of a stage's step, from 0: a straight rise, then half a cosine."""
    rise = max(1, round(plan.warm_up * steps))
    if step < rise:
        return plan.learning_rate * (step + 1) / rise
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))
