"""The contract of every detector: a Volume in, an Anomaly out.

Shapes: N slices, C channels, H W rows and columns, P patches, F features, M memory slots.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from models.looks import coarse


class BadParams(TypeError):
    """The parameters make no detector of their family."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where voxels lie among the source's pixels: the inverse of all that prepared them."""

    to_source_N44: Tensor
    """float64. One matrix for the whole volume takes the index (slice, row, column, 1) of a voxel
    to the index (frame, row, column, 1) of a source pixel; or one for each slice, of which each is
    a source frame, takes (0, row, column, 1) to (0, row, column, 1)."""
    frames: tuple[tuple[int, int], ...]
    """For each source frame, in the order the matrix counts: the image's index in its series, and
    the frame's in the image, both from 0."""


@dataclass(frozen=True, slots=True)
class Volume:
    """Pixels ready for a detector. A projection image is a volume of one slice."""

    voxels_NCHW: Tensor
    """float32, scaled by the recipe to [0, 1]."""
    source_N: tuple[int, ...]
    """For each slice the index of the nearest source image of its series, in geometric order."""
    spacing_mm: tuple[float, float, float] | None
    """Between columns, rows, slices after resampling; None where the source states none."""
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Healthy images of a training step, and what is known of each. No tensor is ever changed."""

    voxels_NCHW: Tensor
    organ_N: Tensor | None = None
    """int64, index into the training file's list of organs; None where it names none."""
    modality_N: Tensor | None = None
    """int64, index into its list of modalities; None where it names none."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A detector's raw word. Higher is stranger; comparable only within one detector."""

    score_N: Tensor
    """float32, one a slice, no unit."""
    map_NHW: Tensor | None
    """float32 at the input's resolution, >= 0, or None."""
    others: Mapping[str, Tensor] = field(default_factory=dict)
    """Further raw scores by name, float32, one a slice, higher is stranger; nothing is decided
    by them."""
    seen: Mapping[str, Tensor] = field(default_factory=dict)
    """What the image looks like, by "organ" and "modality": probabilities (N, classes) over the
    list of that name in ``params``."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A training step's loss and its named parts, each a scalar tensor."""

    total: Tensor
    parts: Mapping[str, Tensor]
    latent_NF: Tensor | None = None
    """The codes of the batch's images, with their gradient, where the family has codes."""


@dataclass(frozen=True, slots=True)
class Player:
    """One optimiser: what it moves and what it wants. Players of a stage take turns each batch."""

    name: str
    modules: tuple[nn.Module, ...]
    """Their parameters are moved by this player, and by no other of its stage."""
    loss: Callable[[Batch], Loss]
    turns: int = 1
    """Steps it makes on each batch."""
    every: int = 1
    """It plays on every n-th batch only, the n-th first."""
    optimizer: str = "adamw"
    """"adamw" with the plan's weight decay, "adam" or "rmsprop" without any."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW and Adam."""
    rate: float = 1.0
    """Its learning rate as a multiple of the plan's."""
    encodes: bool = False
    """Its loss carries ``latent_NF``: what constrains codes adds its terms here."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Part of a training. Stages run one after the other, each with its own share of epochs."""

    name: str
    players: tuple[Player, ...]
    watch: Callable[[Batch], Tensor] | None
    """Held-out loss of healthy images, a scalar: the epoch where it is lowest is kept, and the
    stage ends early when it no longer falls. None keeps the last epoch."""
    share: float = 1.0
    """Epochs as a multiple of the plan's."""


class Detector(nn.Module, ABC):
    """One family. Weights are its state dict; everything else it needs is in ``params``.

    Its constructor raises a TypeError, best a ``BadParams``, for parameters that do not fit.
    """

    def __init__(self, **params: Any) -> None:  # noqa: ANN401 - each family types its own
        super().__init__()
        self.params: dict[str, Any] = params
        """The constructor's arguments, JSON-serialisable: the artifact's card keeps them."""

    def stages(self) -> tuple[Stage, ...]:
        """Give how it learns: by default one stage, one player, all parameters, ``loss``."""
        player = Player("all", (self,), self.loss, encodes=True)
        return (Stage("train", (player,), watch=lambda batch: self.loss(batch).total),)

    @abstractmethod
    def loss(self, batch: Batch) -> Loss:
        """Give the training loss of one batch of healthy images.

        In a family of several players, the loss of the one that serves.
        """

    @abstractmethod
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        """Score slices independently: one slice's score does not depend on its batch mates."""

    @torch.inference_mode()
    def describe(self, voxels_NCHW: Tensor) -> Tensor:
        """Give what whole images are compared by, (N, F): here grey and slope on a coarse grid.

        No score depends on it; references that look alike are found by it.
        """
        return coarse(voxels_NCHW)

    def settle(self, batches: Iterable[Tensor]) -> None:
        """Learn from healthy images, after training, what no gradient teaches: moments, banks.

        ``batches`` are voxels_NCHW. What is learned belongs in buffers, so that it is saved.
        """

    def gauge(self, batches: Iterable[Tensor]) -> None:
        """Learn, after ``settle``, what is usual from healthy images that trained nothing.

        ``batches`` are voxels_NCHW of the images that stopped the training. Calibration is done
        on yet others, so a family may keep whatever it needs of these.
        """


class Coder(Detector):
    """A detector that gives every image a code and draws the image back from it.

    One player of its stages has ``encodes``; that player's loss carries the batch's codes, as
    ``encode`` gives them, in ``latent_NF``. So whoever constrains codes needs to know no family.
    """

    code_features: int
    """F, the numbers in a code."""

    @abstractmethod
    def encode(self, voxels_NCHW: Tensor) -> Tensor:
        """Give the codes (N, F) of images in [0, 1], before any memory, with their gradient."""

    @torch.inference_mode()
    def describe(self, voxels_NCHW: Tensor) -> Tensor:
        """Give the codes."""
        return self.encode(voxels_NCHW)

    @abstractmethod
    def decode(self, latent_NF: Tensor) -> Tensor:
        """Give the images, voxels_NCHW, that codes stand for, with their gradient."""
