"""From a series to the tensor a detector sees. What is trained is what is served.

Shapes: N slices, C channels, H W rows and columns.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.contract import Origin, Volume
from triage.errors import NotEligible
from triage.preprocess.decoder import Decoded, Decoder
from triage.preprocess.monai_parts import MetaTensor, Resized
from triage.preprocess.transforms import (
    IMAGE,
    INVERTED,
    VOI_APPLIED,
    PadToSquared,
    Transform,
    Windowd,
    foreground,
    run,
)
from triage.preprocess.volume import prepare_volume
from triage.settings import Recipe
from triage.study import Series


def preprocess(series: Series, recipe: Recipe, decoder: Decoder) -> Volume:
    """Decode a series and prepare it by its recipe.

    A projection series gives one slice an image; a volume, resampled slices in geometric order.

    Raises:
        NotEligible: header, pixel-data or resource-limit: not ours to judge.
        Held: pixel-data, it cannot be decoded.
        Broken: resource-limit, crashed or corrupt.
        TryAgain: something else ended the decoding process.
    """
    paths = [image.ref.path for image in series.images]
    voi = recipe.window == "voi"
    if recipe.kind == "volume":
        decoded = decoder.decode(paths, voi=voi)
        return prepare_volume(
            decoded, recipe, frames_per_image=max(1, len(decoded.pixels) // len(paths))
        )
    # One by one: the images of a projection series differ in size.
    prepared = [_projection(decoder, path, recipe) for path in paths]
    return Volume(
        torch.cat([volume.voxels_NCHW for volume in prepared]),
        source_N=tuple(range(len(prepared))),
        spacing_mm=None,
        origin=Origin(
            torch.cat([one.origin.to_source_N44 for one in prepared if one.origin is not None]),
            tuple((index, 0) for index in range(len(prepared))),
        ),
    )


def prepare_image(pixels: npt.NDArray[Any], recipe: Recipe) -> Volume:
    """Prepare one grey image (HW) that is not DICOM, exactly as a radiograph with these pixels.

    Integers are display values of their type's full range. Air is dark, as in MONOCHROME2.

    Raises:
        NotEligible: pixel-data, when the image has no contrast at all.
    """
    values = np.array(pixels, dtype=np.float32, order="C")
    if recipe.window == "voi" and np.issubdtype(pixels.dtype, np.integer):
        values /= np.float32(np.iinfo(pixels.dtype).max)
    return _prepare(values, recipe, {VOI_APPLIED: True})


def projection_chain(recipe: Recipe) -> tuple[Transform, ...]:
    """Give the transforms of a radiograph in order; each takes and gives a sample dictionary."""
    chain: list[Transform] = [Windowd(IMAGE, recipe)]
    if recipe.crop == "foreground":
        chain.append(foreground())
    if recipe.crop != "none":
        chain.append(PadToSquared(IMAGE))
    return (*chain, Resized(IMAGE, recipe.size_px, mode="area"))


def _projection(decoder: Decoder, path: Path, recipe: Recipe) -> Volume:
    decoded = decoder.decode([path], voi=recipe.window == "voi")
    if len(decoded.pixels) != 1:
        raise NotEligible(code="header", detail="the radiograph has several frames")
    return _prepare(decoded.pixels[0], recipe, _meta(decoded))


def _meta(decoded: Decoded) -> dict[str, bool]:
    return {INVERTED: decoded.inverted, VOI_APPLIED: decoded.voi_applied}


def _prepare(pixels: npt.NDArray[np.float32], recipe: Recipe, meta: Mapping[str, bool]) -> Volume:
    image = MetaTensor(torch.from_numpy(pixels)[None], meta=dict(meta))
    prepared = run(projection_chain(recipe), image)
    return Volume(
        prepared.as_tensor()[None].contiguous(),
        source_N=(0,),
        spacing_mm=None,
        origin=Origin(_behind_a_slice(prepared.affine.double())[None], ((0, 0),)),
    )


def _behind_a_slice(affine: torch.Tensor) -> torch.Tensor:
    """Give the matrix of indices (slice, row, column, 1) for that of (row, column, 1)."""
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[1:3, 1:3] = affine[:2, :2]
    matrix[1:3, 3] = affine[:2, -1]
    return matrix
