"""The parts of MONAI that are used here, without what MONAI would like to have beside them.

Importing any part of MONAI imports all of it, and with it plotting, signal processing, learning
and notebooks wherever they are installed: more than half of its time, and nothing that is used.
MONAI does without them, so they are out of its sight while it is imported. Import MONAI through
this module alone.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

OPTIONAL: Final = (
    "IPython", "itk", "jsonschema", "matplotlib", "pandas", "scipy.signal", "skimage",
    "sklearn",
)  # fmt: skip


@contextmanager
def without(names: tuple[str, ...]) -> Iterator[None]:
    """Let imports of modules fail that nobody has imported yet, until the block ends."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] # None: not to be imported
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


with without(OPTIONAL):
    from monai.config.type_definitions import KeysCollection
    from monai.data.image_reader import ImageReader
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.croppad.array import SpatialPad
    from monai.transforms.croppad.dictionary import CropForegroundd
    from monai.transforms.spatial.dictionary import Resized
    from monai.transforms.transform import MapTransform
    from monai.utils.enums import MetaKeys, SpaceKeys
    from monai.utils.misc import ensure_tuple

__all__ = [
    "CropForegroundd",
    "ImageReader",
    "KeysCollection",
    "MapTransform",
    "MetaKeys",
    "MetaTensor",
    "Resized",
    "SpaceKeys",
    "SpatialPad",
    "ensure_tuple",
]
