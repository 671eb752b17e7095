"""The contract of every detector: a Volume in, an Anomaly out.

Shapes: N slices, C channels, H W rows and columns, P patches, F features, M memory slots.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Volume:
    """Pixels ready for a detector. A projection image is a volume of one slice."""

    voxels_NCHW: Tensor
    """float32, scaled by the recipe to [0, 1]."""
    source_N: tuple[int, ...]
    """For each slice the index of the nearest source image of its series, in geometric order."""
    spacing_mm: tuple[float, float, float] | None
    """Between columns, rows, slices after resampling; None where the source states none."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A detector's raw word. Higher is stranger; comparable only within one detector."""

    score_N: Tensor
    """float32, one a slice, no unit."""
    map_NHW: Tensor | None
    """float32 at the input's resolution, >= 0, or None."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A training step's loss and its named parts, each a scalar tensor."""

    total: Tensor
    parts: Mapping[str, Tensor]


class Detector(nn.Module, ABC):
    """One family. Weights are its state dict; everything else it needs is in ``params``."""

    def __init__(self, **params: Any) -> None:  # noqa: ANN401 - each family types its own
        super().__init__()
        self.params: dict[str, Any] = params
        """The constructor's arguments, JSON-serialisable: the artifact's card keeps them."""

    @abstractmethod
    def loss(self, voxels_NCHW: Tensor) -> Loss:
        """Give the training loss of one batch of healthy images."""

    @abstractmethod
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        """Score slices independently: one slice's score does not depend on its batch mates."""

    def settle(self, batches: Iterable[Tensor]) -> None:
        """Learn from healthy images, after training, what no gradient teaches: moments, banks.

        ``batches`` are voxels_NCHW. What is learned belongs in buffers, so that it is saved.
        """
