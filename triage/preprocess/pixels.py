"""Pixel data to real units, in the child: stored values, modality LUT, padding, VOI.

Shapes: K frames in the order of the files, R rows, C columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, FileDataset, uid
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut

from triage.errors import Broken, Held, NotEligible
from triage.preprocess import frames, headers, voi

NATIVE: Final = ""
GDCM_READER: Final = "gdcm-reader"
"""Whole files by GDCM itself: pydicom's plugins refuse JPEG with 12 bits."""
PLUGINS: Final[Mapping[str, str]] = {
    uid.ImplicitVRLittleEndian: NATIVE,
    uid.ExplicitVRLittleEndian: NATIVE,
    uid.ExplicitVRBigEndian: NATIVE,
    uid.DeflatedExplicitVRLittleEndian: NATIVE,
    uid.RLELossless: "pylibjpeg",
    uid.JPEGBaseline8Bit: "gdcm",
    uid.JPEGExtended12Bit: "gdcm",
    "1.2.840.10008.1.2.4.53": GDCM_READER,
    "1.2.840.10008.1.2.4.55": GDCM_READER,
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "gdcm",
    uid.JPEG2000: "gdcm",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
}
"""Transfer syntax -> the one decoder that is used for it. Chosen, never guessed at run time."""
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_BYTES_A_VALUE: Final = 4
_WITHOUT_COPYING: Final[Any] = True
"""Nobody writes into the stored values. Any, because pydicom types each option as all of them."""
Stored = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Claim:
    """What the first file says the series will be, checked before anything is decoded."""

    frames: int
    rows: int
    columns: int

    @property
    def values(self) -> int:
        """Give frames x rows x columns."""
        return self.frames * self.rows * self.columns


def claim(paths: Sequence[Path], *, max_pixels: int, max_memory_bytes: int) -> Claim:
    """Read the first header and check that the whole series fits the limits.

    Raises:
        NotEligible: header or pixel-data: sizes are missing, or the image is not grey.
        Broken: resource-limit, the claim is too large.
    """
    header = headers.read(paths[0], with_pixels=False)
    rows, columns = int(header.Rows), int(header.Columns)
    samples = int(header.get("SamplesPerPixel") or 1)
    count = int(header.get("NumberOfFrames") or 1)
    if min(rows, columns, samples, count) < 1:
        raise NotEligible(code="header", detail="Rows, Columns or Number of Frames is not positive")
    claimed = Claim(len(paths) * count, rows, columns)
    within(claimed, claimed.values * samples, max_pixels, max_memory_bytes)
    if samples != 1 or header.PhotometricInterpretation not in _GREY:
        raise NotEligible(code="pixel-data", detail="the images are in colour")
    return claimed


def within(claimed: Claim, values: int, max_pixels: int, max_memory_bytes: int) -> None:
    """Check a claim of so many values against the limits.

    Raises:
        Broken: resource-limit, it is too large.
    """
    if values > max_pixels:
        detail = f"the headers claim more than {max_pixels} pixels"
        raise Broken(code="resource-limit", detail=detail)
    # Half for the result, half for the decoder's own work.
    if claimed.values * _BYTES_A_VALUE > max_memory_bytes // 2:
        raise Broken(code="resource-limit", detail="the pixels would not fit the memory limit")


def fill(
    paths: Sequence[Path], out: npt.NDArray[np.float32], *, with_voi: bool, as_stored: bool = False
) -> dict[str, object]:
    """Decode every file into ``out`` (KRC, real units) and give the frames' geometry.

    ``as_stored`` gives the stored values and no geometry.

    Raises:
        NotEligible: header: the files differ in size, or lack what real units need.
        Held: pixel-data, when it cannot be decoded.
    """
    planes: list[frames.Plane | None] = []
    displayed: list[bool] = []
    header = Dataset()
    for path in paths:
        header = headers.read(path, with_pixels=True)
        stored = _stored_values(header, path)
        if len(planes) + len(stored) > len(out) or stored.shape[1:] != out.shape[1:]:
            raise NotEligible(code="header", detail="the images of the series differ in size")
        for frame, values in zip(_frames(header, stored), out[len(planes) :], strict=False):
            if as_stored:
                values[:] = frame.stored
            displayed.append(not as_stored and real_units(frame, values, with_voi=with_voi))
            planes.append(None if as_stored else frames.plane(header, frame.index))
    if len(planes) != len(out):
        raise NotEligible(code="header", detail="the images differ in their number of frames")
    if with_voi and any(displayed) and not all(displayed):
        raise NotEligible(code="header", detail="only some images state a VOI window")
    return {
        "planes": frames.message(planes),
        "inverted": is_inverted(header),
        "voi_applied": all(displayed),
    }


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it is stored."""

    header: Dataset
    index: int
    stored: Stored
    """RC."""


def _frames(header: Dataset, stored: Stored) -> Iterator[Frame]:
    return (Frame(header, index, plane) for index, plane in enumerate(stored))


def _stored_values(header: FileDataset, path: Path) -> Stored:
    """Give the stored values (KRC), sign and high bit put right (PS3.5 8.1.1)."""
    syntax, plugin = plugin_of(header)
    if plugin == GDCM_READER:
        array = by_gdcm(path)
    else:
        array, _ = get_decoder(syntax).as_array(
            header, raw=True, view_only=_WITHOUT_COPYING, decoding_plugin=plugin
        )
    shape = (int(header.get("NumberOfFrames") or 1), int(header.Rows), int(header.Columns))
    if array.size != np.prod(shape):
        raise Held(code="pixel-data", detail="the decoded size differs from the header")
    return without_unused_bits(array.reshape(shape), header)


def plugin_of(header: FileDataset) -> tuple[uid.UID, str]:
    """Give a file's transfer syntax and the decoder that is used for it.

    Raises:
        NotEligible: pixel-data, none is.
    """
    syntax = uid.UID(str(header.file_meta.TransferSyntaxUID))
    plugin = PLUGINS.get(syntax)
    if plugin is None:
        raise NotEligible(code="pixel-data", detail="the transfer syntax is not supported")
    if syntax == uid.JPEGExtended12Bit and int(header.BitsStored) != 8:
        plugin = GDCM_READER
    return syntax, plugin


def by_gdcm(path: Path) -> Stored:
    """Give all stored values of a file, flat.

    Raises:
        Held: pixel-data, GDCM cannot read it.
    """
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        raise Held(code="pixel-data", detail="GDCM could not decode it")
    image = reader.GetImage()
    kind = image.GetPixelFormat()
    sign = "i" if kind.GetPixelRepresentation() else "u"
    # GDCM hands bytes over as a string with surrogate escapes.
    content = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(content, dtype=f"{sign}{kind.GetBitsAllocated() // 8}")


def without_unused_bits(stored: Stored, header: Dataset) -> Stored:
    """Clear what stands above the high bit (old overlays) and extend the sign from it."""
    bits = stored.dtype.itemsize * 8
    used = int(header.BitsStored)
    high = int(header.get("HighBit") or used - 1)
    if bits == used or not 0 < used <= high + 1 <= bits or stored.dtype.kind not in "iu":
        return stored
    shifted = np.left_shift(stored, bits - 1 - high)
    return np.right_shift(shifted, bits - used, out=shifted)


def real_units(frame: Frame, values: npt.NDArray[np.float32], *, with_voi: bool) -> bool:
    """Write one frame in real units (HU for CT); true if a VOI was asked for and applied."""
    padding = _padding(frame)
    if frame.header.get("ModalityLUTSequence"):
        values[:] = apply_modality_lut(frame.stored, frame.header)
    else:
        slope, intercept = frames.rescale(frame.header, frame.index)
        values[:] = frame.stored
        if slope != 1.0:
            np.multiply(values, np.float32(slope), out=values)
        if intercept != 0.0:
            np.add(values, np.float32(intercept), out=values)
    if padding is not None and padding.any() and not padding.all():
        kept = values[~padding]
        values[padding] = kept.max() if is_inverted(frame.header) else kept.min()
    return voi.apply(values, frame.header) if with_voi else False


def _padding(frame: Frame) -> npt.NDArray[np.bool_] | None:
    """Say where the padding is (PS3.3 C.7.5.1.1.2): a value, or a range with its limit."""
    value = frame.header.get("PixelPaddingValue")
    if value is None or isinstance(value, bytes) or value == "":
        return None
    limit = frame.header.get("PixelPaddingRangeLimit")
    first = _wrapped(int(value), frame.stored)
    if not isinstance(limit, int):
        return np.equal(frame.stored, first)
    last = _wrapped(limit, frame.stored)
    low, high = min(first, last), max(first, last)
    inside: npt.NDArray[np.bool_] = (frame.stored >= low) & (frame.stored <= high)
    return inside


def _wrapped(value: int, stored: Stored) -> int:
    """Read a padding value that was written with the other sign."""
    info = np.iinfo(stored.dtype)
    if value > info.max:
        return value - (1 << info.bits)
    return value + (1 << info.bits) if value < info.min else value


def is_inverted(header: Dataset) -> bool:
    """Tell whether the lowest value is the brightest."""
    return str(header.get("PhotometricInterpretation")) == "MONOCHROME1"
