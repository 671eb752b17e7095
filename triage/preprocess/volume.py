"""The chain of transforms of a recipe of kind volume: CT and MR series as axial slices.

Shapes: axes are slices, rows, columns (NHW) throughout, so that nothing is transposed; MONAI's
axis codes and spacings, which count columns first, are reversed on the way in.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Final

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.array import Resize
from monai.transforms.spatial.dictionary import Orientationd, Resized, Spacingd
from monai.transforms.transform import MapTransform

from models.contract import Volume
from triage.errors import NotEligible
from triage.preprocess.decoder import Decoded
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

LABELS: Final = (("L", "R"), ("P", "A"), ("I", "S"))


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
    )


def volume_chain(recipe: Recipe) -> tuple[Transform, ...]:
    """Give the transforms in order; each takes and gives a sample dictionary."""
    chain: list[Transform] = [Windowd(IMAGE, recipe)]
    if recipe.orientation is not None:
        chain.append(Orientationd(IMAGE, axcodes=recipe.orientation[::-1], labels=LABELS))
    if recipe.spacing_mm is not None:
        target_mm = recipe.spacing_mm[::-1]
        chain.append(AverageDownd(IMAGE, target_mm))
        chain.append(
            Spacingd(IMAGE, target_mm, mode="bilinear", padding_mode="border", dtype=np.float32)
        )
    if recipe.crop == "foreground":
        chain.append(foreground())
    if recipe.crop != "none":
        chain.append(PadToSquared(IMAGE))
    return (*chain, Resized(IMAGE, (-1, *recipe.size_px), mode="area"))


class AverageDownd(MapTransform):
    """Average whole blocks where the target spacing is at least twice the image's.

    Resampling alone would pick single voxels out of thin slices; a thick slice is their mean.
    """

    def __init__(self, keys: str, target_mm: tuple[float, ...]) -> None:
        super().__init__(keys)
        self._target_mm = target_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give the sample with its images averaged down to below twice the target spacing."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            image = sample[key]
            pairs = zip(self._target_mm, _spacing_mm(image), strict=True)
            blocks = [max(1, int(target / spacing + 1e-3)) for target, spacing in pairs]
            if max(blocks) > 1:
                size = [-(-int(n) // b) for n, b in zip(image.shape[1:], blocks, strict=True)]
                sample[key] = Resize(size, mode="area")(image)
        return sample


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
