"""Our own dictionary transforms, beside MONAI's: grey scale, square, foreground.

Shapes: an image is channel first, ``1HW`` or ``1HWN`` (rows, columns, slices).
"""

from collections.abc import Hashable, Mapping
from typing import Any, Final

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform
from torch import Tensor
from torch.nn import functional

from triage.errors import NotEligible
from triage.settings import Recipe

VOI_APPLIED: Final = "voi_applied"
"""Meta key: the values are display values in [0, 1] already."""
INVERTED: Final = "inverted"
"""Meta key: the lowest value is the brightest (MONOCHROME1, PS3.3 C.7.6.3.1.2)."""
_SAMPLE: Final = 2**18
_BINS: Final = 256


class Windowd(MapTransform):
    """Map the recipe's window to [0, 1] with air dark, clipping what is outside.

    Clipping comes before any resampling, or metal and markers bleed into their neighbours.

    Raises:
        NotEligible: pixel-data, when the image has no contrast at all.
    """

    def __init__(self, keys: KeysCollection, recipe: Recipe) -> None:
        super().__init__(keys)
        self._recipe = recipe

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give the sample with its images windowed."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            image = sample[key]
            inverted = bool(image.meta.get(INVERTED))
            low, high = self._limits(image, inverted=inverted)
            if not high > low:
                raise NotEligible(code="pixel-data", detail="the pixels have no contrast")
            windowed = ((image.clamp(low, high) - low) / (high - low)).clamp_(0.0, 1.0)
            sample[key] = 1.0 - windowed if inverted else windowed
        return sample

    def _limits(self, image: MetaTensor, *, inverted: bool) -> tuple[float, float]:
        if self._recipe.window == "voi" and image.meta.get(VOI_APPLIED):
            return 0.0, 1.0
        if self._recipe.window == "fixed" and self._recipe.window_range is not None:
            return self._recipe.window_range
        low, high = self._recipe.percentiles
        wanted = (100.0 - high, 100.0 - low) if inverted else (low, high)
        found = np.percentile(_thin(image.as_tensor()).numpy(), wanted)
        return float(found[0]), float(found[1])


class PadToSquared(MapTransform):
    """Pad rows or columns with zero on both sides, so that resizing keeps the anatomy's shape."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give the sample with its images square in the plane."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            sample[key] = _square(sample[key])
        return sample


def body_mask(image: Tensor) -> Tensor:
    """Give true where the body is: above Otsu's threshold between air and tissue, one boolean each.

    The threshold needs no unit, so one rule serves CT, MR and radiographs.

    Source: Otsu 1979, IEEE Trans. SMC 9(1), eq. 18.
    """
    values = _thin(image).float()
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return torch.ones_like(image, dtype=torch.bool)
    counts = torch.histc(values, _BINS, low, high).double()
    centres = low + (torch.arange(_BINS, dtype=torch.float64) + 0.5) * (high - low) / _BINS
    below = counts.cumsum(0) / counts.sum()
    mean_below = (counts * centres).cumsum(0) / counts.sum()
    spread = (mean_below[-1] * below - mean_below).square()
    between = spread / (below * (1 - below)).clamp(min=1e-12)
    return image > float(centres[int(between[:-1].argmax())])


def _thin(image: Tensor) -> Tensor:
    """Give every n-th value along each axis: enough for percentiles, whatever the image's size."""
    plain = image.as_tensor() if isinstance(image, MetaTensor) else image
    axes = plain.ndim - 1
    step = max(1, int(np.ceil((plain.numel() / _SAMPLE) ** (1 / axes))))
    return plain[(slice(None), *([slice(None, None, step)] * axes))].reshape(-1)


def _square(image: Tensor) -> Tensor:
    rows, columns = int(image.shape[1]), int(image.shape[2])
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    around = [left, side - columns - left, top, side - rows - top]
    return functional.pad(image, [0, 0] * (image.ndim - 3) + around)
