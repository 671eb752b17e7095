"""The part of a file that decoding needs: its elements about pixels and their place, and no other.

A header of a modality has hundreds of elements, many private. Passing over them is a quarter of
the time that a series takes, and what is not read cannot do harm.
"""

from pathlib import Path
from typing import Final

from pydicom import FileDataset
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_partial

KEYWORDS: Final = (
    # What the pixels are (PS3.3 C.7.6.3), and where compressed frames begin.
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("FloatPixelData", "DoubleFloatPixelData", "PixelData"),
    # What they mean (PS3.3 C.7.5.1.1.2, C.11.1, C.11.2).
    *("Modality", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth"),
    # Where they lie (PS3.3 C.7.6.2, C.7.6.16).
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SliceThickness", "SpacingBetweenSlices"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
"""Every element that decoding, real units, VOI and geometry read; another one is never there."""
_TAGS: Final = [tag for tag in map(tag_for_keyword, KEYWORDS) if tag is not None]
_PIXEL_DATA: Final = 0x7FE00010


def read(path: Path, *, with_pixels: bool) -> FileDataset:
    """Read a file's elements up to and with its pixels: what follows may be endless padding.

    Raises:
        Exception: whatever the parser raises at these bytes.
    """
    passed = False

    def ends(tag: int, _vr: str | None, _length: int) -> bool:
        nonlocal passed
        # A pydicom tag compares in Python, a plain number does not.
        beyond = int(tag) >= _PIXEL_DATA
        if passed or (beyond and not with_pixels):
            return True
        passed = beyond
        return False

    with path.open("rb") as file:
        return read_partial(file, stop_when=ends, specific_tags=_TAGS, force=True)
