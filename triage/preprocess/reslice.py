"""A series as a SimpleITK image: in the patient's space, turned to the recipe's axes, resampled.

Shapes: arrays are slices, rows, columns (KRC); SimpleITK counts columns first. Affines take the
index (k, r, c, 1) to mm in RAS, as MONAI's do; a SimpleITK image lies in LPS, as DICOM does.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK
import torch

from triage.errors import NotEligible
from triage.preprocess.geometry import LPS_TO_RAS, Matrix
from triage.preprocess.monai_parts import MapTransform, MetaTensor
from triage.settings import Recipe

Image = Any  # SimpleITK's types are not written down
itk: Any = SimpleITK
Voxels = npt.NDArray[np.float32]
MAX_VOXELS: Final = 2**29
"""2 GiB of float32: beyond it a header's spacing is more likely wrong than the patient long."""

OPPOSITES: Final = ("LR", "PA", "SI")


def image_of(voxels_KRC: Voxels, affine: Matrix) -> Image:
    """Give the voxels, copied, as a SimpleITK image that lies where the affine says."""
    lps = LPS_TO_RAS @ affine
    axes = lps[:3, [2, 1, 0]]
    spacing_mm = np.linalg.norm(axes, axis=0)
    image = itk.GetImageFromArray(voxels_KRC, isVector=False)
    image.SetSpacing(spacing_mm.tolist())
    image.SetDirection((axes / spacing_mm).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def affine_of(image: Image) -> Matrix:
    """Give where the image lies: ``image_of`` turned round."""
    axes = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    lps = np.eye(4)
    lps[:3, [2, 1, 0]] = axes
    lps[:3, 3] = image.GetOrigin()
    ras: Matrix = LPS_TO_RAS @ lps
    return ras


def reslice(image: Image, orientation: str | None, spacing_mm: Sequence[float] | None) -> Image:
    """Turn the image to the axis codes (columns, rows, slices) and resample it to the spacing.

    Where the spacing is at least twice the image's, whole blocks are averaged first: resampling
    alone would pick single voxels out of thin slices, and a thick slice is their mean.

    Raises:
        NotEligible: resource-limit, when the result would be beyond all bounds.
    """
    itk.ProcessObject.SetGlobalDefaultNumberOfThreads(torch.get_num_threads())
    if spacing_mm is not None:
        image = _averaged(image, _along(image, orientation, spacing_mm))
    if orientation is not None:
        image = itk.DICOMOrient(image, orientation)
    return image if spacing_mm is None else _resampled(image, spacing_mm)


class Resliced(MapTransform):
    """MONAI's dictionary form of ``reslice``, by a recipe, on images 1KRC."""

    def __init__(self, keys: str, recipe: Recipe) -> None:
        super().__init__(keys)
        self._recipe = recipe

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give the sample with its images turned and resampled, their affines up to date."""
        sample = dict(data)
        if self._recipe.orientation is None and self._recipe.spacing_mm is None:
            return sample
        for key in self.key_iterator(sample):
            before = sample[key]
            image = image_of(before.as_tensor()[0].numpy(), before.affine.double().numpy())
            image = reslice(image, self._recipe.orientation, self._recipe.spacing_mm)
            voxels = torch.from_numpy(itk.GetArrayFromImage(image))[None]
            after = MetaTensor(voxels, meta=before.meta)
            after.affine = torch.from_numpy(affine_of(image))
            sample[key] = after
        return sample


def _along(image: Image, orientation: str | None, spacing_mm: Sequence[float]) -> list[float]:
    """Give the wanted spacing along the image's own axes."""
    if orientation is None:
        return list(spacing_mm)
    direction = image.GetDirection()
    own = itk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(direction)
    axis = {code: n for n, pair in enumerate(OPPOSITES) for code in pair}
    wanted = {axis[code]: target for code, target in zip(orientation, spacing_mm, strict=True)}
    return [wanted[axis[code]] for code in own]


def _averaged(image: Image, spacing_mm: Sequence[float]) -> Image:
    pairs = zip(spacing_mm, image.GetSpacing(), strict=True)
    # The small addition keeps 5.0 over 0.625 at 8 blocks whatever the header's rounding.
    blocks = [max(1, int(target / spacing + 1e-3)) for target, spacing in pairs]
    if max(blocks) == 1:
        return image
    short = [-count % block for count, block in zip(image.GetSize(), blocks, strict=True)]
    if any(short):
        image = itk.ZeroFluxNeumannPad(image, [0, 0, 0], short)
    return itk.BinShrink(image, blocks)


def _resampled(image: Image, spacing_mm: Sequence[float]) -> Image:
    """Interpolate linearly on a grid with the image's outer edge; beyond it the edge goes on."""
    lengths_mm = np.multiply(image.GetSize(), image.GetSpacing())
    size = [max(1, round(n / target)) for n, target in zip(lengths_mm, spacing_mm, strict=True)]
    if int(np.prod(size)) > MAX_VOXELS:
        detail = "the spacing in the headers makes a volume beyond all bounds"
        raise NotEligible(code="resource-limit", detail=detail)
    gap_mm = (np.asarray(spacing_mm) - image.GetSpacing()) / 2
    direction = np.reshape(image.GetDirection(), (3, 3))
    return itk.Resample(
        image,
        size,
        itk.Transform(3, itk.sitkIdentity),
        itk.sitkLinear,
        (image.GetOrigin() + direction @ gap_mm).tolist(),
        list(spacing_mm),
        image.GetDirection(),
        0.0,
        image.GetPixelID(),
        useNearestNeighborExtrapolator=True,
    )
