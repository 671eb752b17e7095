"""DICOM series for MONAI: ``LoadImaged("image", reader=SeriesReader(decoder))``.

Pixels come from the limited child, in real units, with the affine in RAS: what the pipeline sees,
in the axis order MONAI's users expect (columns, rows, slices).
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from triage.preprocess.decoder import Decoded, Decoder
from triage.preprocess.monai_parts import ImageReader, MetaKeys, SpaceKeys, ensure_tuple
from triage.preprocess.transforms import INVERTED, VOI_APPLIED

Paths = Sequence[str | PathLike[Any]] | str | PathLike[Any]


class SeriesReader(ImageReader):
    """Reads one series a call: a file, its files in any order, or the folder that holds them."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def verify_suffix(self, filename: Paths) -> bool:  # noqa: ARG002
        """Give true: DICOM files have no suffix to rely on."""
        return True

    def read(self, data: Paths, **kwargs: Any) -> Decoded:  # noqa: ANN401, ARG002 - MONAI's
        """Decode the files. Raises what ``Decoder.decode`` raises."""
        paths = [Path(one) for one in ensure_tuple(data)]
        if len(paths) == 1 and paths[0].is_dir():
            paths = sorted(path for path in paths[0].iterdir() if path.is_file())
        return self._decoder.decode(paths)

    def get_data(self, img: Decoded) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Give the array (columns, rows, slices) and its metadata; 2-D without geometry."""
        pixels, affine = img.pixels, np.eye(4)
        if img.geometry is not None:
            pixels = pixels[np.argsort(img.geometry.positions_mm(), kind="stable")]
            # The geometry counts slices, rows, columns; its columns turn round with the axes.
            affine = img.geometry.affine()[:, [2, 1, 0, 3]]
        turned = np.ascontiguousarray(pixels.transpose(2, 1, 0))
        if img.geometry is None and turned.shape[2] == 1:
            turned = turned[:, :, 0]
        meta = {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(turned.shape),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
            INVERTED: img.inverted,
            VOI_APPLIED: img.voi_applied,
        }
        return turned, meta
