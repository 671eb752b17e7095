"""The chain of transforms of each kind of recipe. What is trained is what is served.

Shapes: N slices, C channels, H W rows and columns.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.croppad.dictionary import CropForegroundd
from monai.transforms.spatial.dictionary import Resized

from models.contract import Volume
from triage.preprocess.transforms import INVERTED, VOI_APPLIED, PadToSquared, Windowd, body_mask
from triage.settings import Recipe

IMAGE: Final = "image"
Transform = Callable[[Mapping[Any, Any]], dict[Any, Any]]


def prepare_image(pixels: npt.NDArray[Any], recipe: Recipe) -> Volume:
    """Prepare one grey image (HW) that is not DICOM, exactly as a radiograph with these pixels.

    Integers are display values of their type's full range. Air is dark, as in MONOCHROME2.

    Raises:
        NotEligible: pixel-data, when the image has no contrast at all.
    """
    values = np.ascontiguousarray(pixels, dtype=np.float32)
    if recipe.window == "voi" and np.issubdtype(pixels.dtype, np.integer):
        values = values / np.float32(np.iinfo(pixels.dtype).max)
    return prepare_projection(values, recipe, {VOI_APPLIED: True})


def prepare_projection(
    pixels: npt.NDArray[np.float32], recipe: Recipe, meta: Mapping[str, Any]
) -> Volume:
    """Prepare one decoded radiograph (HW): a volume of one slice, one channel.

    ``meta`` holds ``inverted`` (MONOCHROME1) and ``voi_applied`` (values are in [0, 1]).

    Raises:
        NotEligible: pixel-data, when the image has no contrast at all.
    """
    kept = {key: meta[key] for key in (INVERTED, VOI_APPLIED) if key in meta}
    image = MetaTensor(torch.from_numpy(pixels)[None], meta=kept)
    prepared = _run(projection_chain(recipe), image)
    return Volume(prepared[None].contiguous(), source_N=(0,), spacing_mm=None)


def projection_chain(recipe: Recipe) -> tuple[Transform, ...]:
    """Give the transforms of a radiograph in order; each takes and gives a sample dictionary."""
    return (Windowd(IMAGE, recipe), *_cropping(recipe), Resized(IMAGE, recipe.size_px, mode="area"))


def _cropping(recipe: Recipe) -> tuple[Transform, ...]:
    if recipe.crop == "none":
        return ()
    if recipe.crop == "square":
        return (PadToSquared(IMAGE),)
    crop = CropForegroundd(
        IMAGE,
        source_key=IMAGE,
        select_fn=body_mask,
        allow_smaller=True,
        start_coord_key=None,
        end_coord_key=None,
    )
    return crop, PadToSquared(IMAGE)


def _run(chain: tuple[Transform, ...], image: MetaTensor) -> torch.Tensor:
    # A plain loop, not Compose: Compose wraps our errors in its own and their class is lost.
    sample: dict[Any, Any] = {IMAGE: image}
    for transform in chain:
        sample = transform(sample)
    prepared: torch.Tensor = sample[IMAGE].as_tensor()
    return prepared
