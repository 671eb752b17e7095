"""Our own dictionary transforms, beside MONAI's: window, square, body.

Shapes: an image is channel first, ``1HW`` or ``1NHW`` (slices, rows, columns).
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from triage.errors import NotEligible
from triage.preprocess.monai_parts import (
    CropForegroundd,
    KeysCollection,
    MapTransform,
    MetaTensor,
    SpatialPad,
)
from triage.settings import Recipe

IMAGE: Final = "image"
"""The key of the image in a sample."""
VOI_APPLIED: Final = "voi_applied"
"""Meta key: the values are display values in [0, 1] already."""
INVERTED: Final = "inverted"
"""Meta key: the lowest value is the brightest (MONOCHROME1, PS3.3 C.7.6.3.1.2)."""
Transform = Callable[[Mapping[Any, Any]], dict[Any, Any]]
_SAMPLE: Final = 2**18
_BINS: Final = 256


def run(chain: Sequence[Transform], image: MetaTensor) -> MetaTensor:
    """Give the image after every transform of the chain, in [0, 1], its affine up to date."""
    # A plain loop, not Compose: Compose wraps our errors in its own and their class is lost.
    sample: dict[Any, Any] = {IMAGE: image}
    for transform in chain:
        sample = transform(sample)
    # Averages of ones may round to a little more than one.
    prepared: MetaTensor = sample[IMAGE].clamp_(0.0, 1.0)
    return prepared


class Windowd(MapTransform):
    """Map the recipe's window to [0, 1] with air dark, clipping what is outside, in place.

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
            image.as_tensor().clamp_(low, high).sub_(low).div_(high - low)
            sample[key] = 1.0 - image if inverted else image
        return sample

    def _limits(self, image: MetaTensor, *, inverted: bool) -> tuple[float, float]:
        if self._recipe.window == "voi" and image.meta.get(VOI_APPLIED):
            return 0.0, 1.0
        if self._recipe.window == "fixed" and self._recipe.window_range is not None:
            return self._recipe.window_range
        low, high = self._recipe.percentiles
        wanted = (100.0 - high, 100.0 - low) if inverted else (low, high)
        found = np.percentile(_thin(image).numpy(), wanted).astype(np.float32)
        return float(found[0]), float(found[1])


class PadToSquared(MapTransform):
    """Pad rows or columns with zero on both sides, so that resizing keeps the anatomy's shape."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give the sample with its images square in the plane."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            image = sample[key]
            side = max(image.shape[-2:])
            sample[key] = SpatialPad([-1] * (image.ndim - 3) + [side, side])(image)
        return sample


def foreground() -> Transform:
    """Give MONAI's crop to the box around the body."""
    crop: Transform = CropForegroundd(
        IMAGE,
        source_key=IMAGE,
        select_fn=body_mask,
        allow_smaller=True,
        start_coord_key=None,
        end_coord_key=None,
    )
    return crop


def body_mask(image: Tensor) -> Tensor:
    """Give true where the body is: the largest piece above Otsu's threshold between air and tissue.

    The threshold needs no unit, so one rule serves CT, MR and radiographs.

    Source: Otsu 1979, IEEE Trans. SMC 9(1), eq. 18.
    """
    values = _thin(image)
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return torch.ones_like(image, dtype=torch.bool)
    counts = torch.histc(values, _BINS, low, high).double()
    centres = low + (torch.arange(_BINS, dtype=torch.float64) + 0.5) * (high - low) / _BINS
    below = counts.cumsum(0) / counts.sum()
    mean_below = (counts * centres).cumsum(0) / counts.sum()
    spread = (mean_below[-1] * below - mean_below).square()
    between = spread / (below * (1 - below)).clamp(min=1e-12)
    above = _plain(image) > float(centres[int(between[:-1].argmax())])
    return _largest_piece(above)


def _largest_piece(mask: Tensor) -> Tensor:
    """Keep the largest connected piece: tubes, markers and the table are others."""
    labels, count = ndimage.label(mask[0].numpy())
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return torch.from_numpy(labels == sizes.argmax())[None]


def _thin(image: Tensor) -> Tensor:
    """Give every n-th value along each axis: enough for percentiles, whatever the image's size."""
    plain = _plain(image)
    axes = plain.ndim - 1
    step = max(1, int(np.ceil((plain.numel() / _SAMPLE) ** (1 / axes))))
    return plain[(slice(None), *([slice(None, None, step)] * axes))].reshape(-1)


def _plain(image: Tensor) -> Tensor:
    plain: Tensor = image.as_tensor() if isinstance(image, MetaTensor) else image
    return plain
