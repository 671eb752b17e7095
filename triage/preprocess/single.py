"""One frame for a pair of eyes, in the child: grey in real units, or colour in 8 bits.

Of an object of many frames only the one that is asked for is decoded.

Shapes: R rows, C columns; of colour each row holds C triples of red, green and blue.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, FileDataset, dcmread, uid
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array

from triage.errors import Held, NotEligible
from triage.preprocess import headers, pixels
from triage.preprocess.pixels import Claim

SAMPLES_OF_COLOUR: Final = 3
PALETTE: Final = "PALETTE COLOR"
_BITS: Final = 8
_PALETTE_TAGS: Final = [
    f"{segmented}{colour}PaletteColorLookupTable{part}"
    for colour in ("Red", "Green", "Blue")
    for segmented, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
]


def claim(path: Path, frame: int, *, max_pixels: int, max_memory_bytes: int) -> Claim:
    """Say how large one frame will be; colour counts three values a pixel, side by side.

    Raises:
        NotEligible: header or pixel-data: sizes are missing, or there is no such frame.
        Broken: resource-limit, the claim is too large.
    """
    header = headers.read(path, with_pixels=False)
    if not header.get("Rows") or not header.get("Columns"):
        raise NotEligible(code="pixel-data", detail="the object holds no pixels")
    rows, columns = int(header.Rows), int(header.Columns)
    if not 0 <= frame < int(header.get("NumberOfFrames") or 1):
        raise NotEligible(code="pixel-data", detail="there is no such frame")
    if min(rows, columns, int(header.get("SamplesPerPixel") or 1)) < 1:
        raise NotEligible(code="header", detail="Rows, Columns or Number of Frames is not positive")
    claimed = Claim(1, rows, columns * (SAMPLES_OF_COLOUR if _is_colour(header) else 1))
    pixels.within(claimed, claimed.values, max_pixels, max_memory_bytes)
    return claimed


def fill(
    path: Path, frame: int, out: npt.NDArray[np.float32], *, with_voi: bool
) -> dict[str, object]:
    """Decode one frame into ``out`` (one, R, C or 3 C).

    Raises:
        NotEligible: pixel-data, the transfer syntax is not supported.
        Held: pixel-data, when it cannot be decoded.
    """
    header = headers.read(path, with_pixels=False)
    displayed = False
    if _is_colour(header):
        out[0] = _colour(path, frame, header).reshape(out.shape[1:])
    else:
        stored = _stored(path, frame, header)
        if stored.shape != out.shape[1:]:
            raise Held(code="pixel-data", detail="the decoded size differs from the header")
        displayed = _grey(pixels.Frame(header, frame, stored), out[0], with_voi=with_voi)
    return {
        "planes": None,
        "inverted": pixels.is_inverted(header),
        "voi_applied": displayed,
        "samples": SAMPLES_OF_COLOUR if _is_colour(header) else 1,
    }


def _is_colour(header: Dataset) -> bool:
    samples = int(header.get("SamplesPerPixel") or 1)
    return samples > 1 or header.get("PhotometricInterpretation") == PALETTE


def _grey(frame: pixels.Frame, values: npt.NDArray[np.float32], *, with_voi: bool) -> bool:
    """Write real units; stored values where a CT states no rescaling, as a localiser may."""
    try:
        return pixels.real_units(frame, values, with_voi=with_voi)
    except NotEligible:
        values[:] = frame.stored
        return False


def _stored(path: Path, frame: int, header: FileDataset) -> pixels.Stored:
    _, plugin = pixels.plugin_of(header)
    if plugin == pixels.GDCM_READER:
        shape = (-1, int(header.Rows), int(header.Columns))
        found = pixels.by_gdcm(path).reshape(shape)[frame]
    else:
        found = _decoded(path, frame, header, plugin, raw=True)
    return pixels.without_unused_bits(found, header)


def _colour(path: Path, frame: int, header: FileDataset) -> npt.NDArray[np.uint8]:
    """Give red, green and blue in 8 bits, whatever colour space and palette it is stored in."""
    _, plugin = pixels.plugin_of(header)
    if plugin == pixels.GDCM_READER:
        raise NotEligible(code="pixel-data", detail="colour of this transfer syntax is not shown")
    found = _decoded(path, frame, header, plugin, raw=False)
    bits = int(header.BitsStored)
    if header.get("PhotometricInterpretation") == PALETTE:
        found = apply_color_lut(found, dcmread(path, specific_tags=[*_PALETTE_TAGS]))
        bits = found.dtype.itemsize * 8
    if found.ndim != SAMPLES_OF_COLOUR or found.shape[2] < SAMPLES_OF_COLOUR:
        raise Held(code="pixel-data", detail="the decoded size differs from the header")
    found = found[..., :SAMPLES_OF_COLOUR]
    return (found >> max(bits - _BITS, 0)).astype(np.uint8)


def _decoded(
    path: Path, frame: int, header: FileDataset, plugin: str, *, raw: bool
) -> npt.NDArray[Any]:
    source: Path | FileDataset = path
    if header.file_meta.TransferSyntaxUID == uid.DeflatedExplicitVRLittleEndian:
        source = headers.read(path, with_pixels=True)  # one stream: no frame can be sought in it
    return pixel_array(source, index=frame, raw=raw, decoding_plugin=plugin)
