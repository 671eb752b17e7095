"""The chain of transforms of a recipe of kind volume: CT and MR series as axial slices.

Shapes: axes are slices, rows, columns (NHW) throughout, so that nothing is transposed.
"""

import numpy as np
import torch

from models.contract import Origin, Volume
from triage.errors import NotEligible
from triage.preprocess.decoder import Decoded
from triage.preprocess.monai_parts import MetaTensor, Resized
from triage.preprocess.reslice import Resliced
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
from triage.settings import Recipe


def prepare_volume(decoded: Decoded, recipe: Recipe, *, frames_per_image: int = 1) -> Volume:
    """Prepare one decoded series: slices along the recipe's last axis, one channel.

    Raises:
        NotEligible: header, without geometry; resource-limit, with too many slices; pixel-data,
            without contrast.
    """
    if decoded.geometry is None:
        raise NotEligible(code="header", detail="the headers do not place the images in space")
    order = np.argsort(decoded.geometry.positions_mm(), kind="stable")
    ascending = bool((order[:-1] < order[1:]).all())
    pixels = decoded.pixels if ascending else decoded.pixels[order]
    meta = {INVERTED: decoded.inverted, VOI_APPLIED: decoded.voi_applied}
    affine = torch.from_numpy(decoded.geometry.affine())
    source = MetaTensor(torch.from_numpy(pixels)[None], affine=affine, meta=meta)
    prepared = run(volume_chain(recipe), source)
    if prepared.shape[1] > recipe.max_slices:
        detail = f"more than {recipe.max_slices} slices after resampling"
        raise NotEligible(code="resource-limit", detail=detail)
    frames = _nearest_frames(prepared, affine, len(order))
    slices_mm, rows_mm, columns_mm = _spacing_mm(prepared)
    return Volume(
        prepared.as_tensor().movedim(1, 0).contiguous(),
        source_N=tuple(int(order[frame]) // frames_per_image for frame in frames),
        spacing_mm=(columns_mm, rows_mm, slices_mm),
        origin=Origin(
            torch.linalg.solve(affine.double(), prepared.affine.double())[None],
            tuple((int(one) // frames_per_image, int(one) % frames_per_image) for one in order),
        ),
    )


def volume_chain(recipe: Recipe) -> tuple[Transform, ...]:
    """Give the transforms in order; each takes and gives a sample dictionary."""
    chain: list[Transform] = [Windowd(IMAGE, recipe), Resliced(IMAGE, recipe)]
    if recipe.crop == "foreground":
        chain.append(foreground())
    if recipe.crop != "none":
        chain.append(PadToSquared(IMAGE))
    return (*chain, Resized(IMAGE, (-1, *recipe.size_px), mode="area"))


def _spacing_mm(image: MetaTensor) -> tuple[float, ...]:
    """Give the lengths of the affine's columns: the spacing along each axis."""
    affine = image.affine.double()
    return tuple(float(length) for length in affine[:3, :3].norm(dim=0))


def _nearest_frames(image: MetaTensor, source: torch.Tensor, count: int) -> list[int]:
    """Give for the centre of each slice the nearest frame of the source."""
    slices, rows, columns = image.shape[1:]
    centres = torch.ones(4, slices, dtype=torch.float64)
    centres[0] = torch.arange(slices)
    centres[1], centres[2] = (rows - 1) / 2, (columns - 1) / 2
    at = torch.linalg.solve(source.double(), image.affine.double() @ centres)[0]
    nearest: list[int] = at.round().long().clamp(0, count - 1).tolist()
    return nearest
