"""Frames and pictures (PS3.18 10.4): compressed frames as they are stored, all else by the child.

Nothing is decompressed in this process: stored values and real units come from the decoding
child, which is limited and may die. What is done here is arithmetic on what it gave.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame

from triage.dicomweb import headers
from triage.errors import Broken, NotEligible, TriageError
from triage.preprocess.decoder import Decoded, Decoder
from triage.settings import Decode

MAX_SECONDS: Final = 20.0
MAX_PIXELS: Final = 200_000_000
MAX_EXACT_BITS: Final = 16
"""The child gives 32-bit floating numbers: larger integers would be rounded."""
MAX_SIDE_PX: Final = 8_192
PERCENTILES: Final = (0.5, 99.5)
QUALITY: Final = 90
OCTETS: Final = "application/octet-stream"
MEDIA: Final[Mapping[str, str]] = {
    uid.JPEGBaseline8Bit: "image/jpeg",
    uid.JPEGExtended12Bit: "image/jpeg",
    uid.JPEGLossless: "image/jpeg",
    uid.JPEGLosslessSV1: "image/jpeg",
    uid.JPEGLSLossless: "image/jls",
    uid.JPEGLSNearLossless: "image/jls",
    uid.JPEG2000Lossless: "image/jp2",
    uid.JPEG2000: "image/jp2",
    uid.HTJ2KLossless: "image/jphc",
    uid.HTJ2KLosslessRPCL: "image/jphc",
    uid.HTJ2K: "image/jphc",
    uid.RLELossless: "image/dicom-rle",
}
"""Of compressed frames (PS3.18 Table 8.7.3-5)."""
Mode = Literal["real", "voi", "stored"]
Grey = npt.NDArray[np.uint8]


class NotThere(TriageError):
    """The instance has no such frame, or no pixels at all."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture is made (PS3.18 8.3.5)."""

    media_type: str = "image/jpeg"
    window: tuple[float, float, str] | None = None
    """Centre, width and function; None takes the instance's own."""
    viewport: tuple[int, int] | None = None
    """Columns and rows that the picture has to fit."""
    region: tuple[int, int, int, int] | None = None
    """Left, top, width and height of the part to show, in pixels of the image."""
    quality: int = QUALITY


class Darkroom:
    """The decoding child of one process, asked by one request at a time; keeps the latest image."""

    def __init__(self, limits: Decode) -> None:
        bounds = {
            "max_seconds": min(limits.max_seconds, MAX_SECONDS),
            "max_pixels": min(limits.max_pixels, MAX_PIXELS),
        }
        self._decoder = Decoder(limits.model_copy(update=bounds))
        self._lock = threading.Lock()
        self._latest: tuple[tuple[Path, Mode], Decoded] | None = None

    def decode(self, path: Path, mode: Mode) -> Decoded:
        """Give an instance's frames.

        Raises:
            TriageError: it cannot be decoded, for the reason it carries.
        """
        with self._lock:
            if self._latest is None or self._latest[0] != (path, mode):
                self._latest = None
                found = self._decoder.decode([path], voi=mode == "voi", stored=mode == "stored")
                self._latest = (path, mode), found
            return self._latest[1]

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._decoder.close()


def frame_count(header: Dataset) -> int:
    """Give how many frames there are.

    Raises:
        NotThere: there are no pixels.
    """
    if not header.get("Rows") or not header.get("Columns"):
        msg = "The instance has no pixels."
        raise NotThere(msg)
    return int(header.get("NumberOfFrames") or 1)


def compressed(path: Path, number: int, count: int) -> bytes:
    """Give one frame as it is stored, from 1.

    Raises:
        NotThere: there is none of that number.
        Broken: corrupt, its fragments cannot be told apart.
    """
    whole = headers.read_pixels(path)
    if number > count or whole is None:
        msg = "There is no such frame."
        raise NotThere(msg)
    try:
        with path.open("rb") as file:
            file.seek(whole.offset)
            return get_frame(
                file, number - 1, number_of_frames=count, extended_offsets=whole.extended_offsets
            )
    except headers.UNREADABLE as why:
        detail = f"the frames cannot be told apart ({type(why).__name__})"
        raise Broken(code="corrupt", detail=detail) from None


def native(path: Path, header: Dataset, number: int) -> bytes:
    """Give one frame's bytes out of uncompressed little endian pixel data, from 1.

    Raises:
        NotThere: there is none of that number.
        NotEligible: frames do not begin at whole bytes.
    """
    bits, count = int(header.get("BitsAllocated") or 0), frame_count(header)
    whole = headers.read_pixels(path)
    if number > count or whole is None:
        msg = "There is no such frame."
        raise NotThere(msg)
    if bits < 8 or bits % 8:
        raise NotEligible(code="pixel-data", detail=f"frames of {bits} bits are not given alone")
    size = int(header.Rows) * int(header.Columns) * int(header.get("SamplesPerPixel") or 1)
    size = size * bits // 8
    if header.get("PhotometricInterpretation") == "YBR_FULL_422":
        size = size * 2 // 3
    with path.open("rb") as file:
        file.seek(whole.offset + (number - 1) * size)
        content = file.read(size)
    return content + b"\0" * (len(content) % 2)


def uncompressed(darkroom: Darkroom, path: Path, header: Dataset, number: int) -> bytes:
    """Give one frame's stored values, little endian, from 1, decoded by the child.

    Raises:
        NotThere: there is none of that number.
        TriageError: it cannot be decoded, or not exactly.
    """
    bits = int(header.get("BitsAllocated") or 0)
    if not 8 <= bits <= MAX_EXACT_BITS:
        detail = f"frames of {bits} bits are not given one by one"
        raise NotEligible(code="pixel-data", detail=detail)
    frames = darkroom.decode(path, "stored").pixels
    if number > len(frames):
        msg = "There is no such frame."
        raise NotThere(msg)
    sign = "i" if header.get("PixelRepresentation") else "u"
    content: bytes = frames[number - 1].astype(f"<{sign}{bits // 8}").tobytes()
    return content + b"\0" * (len(content) % 2)


def picture(darkroom: Darkroom, path: Path, number: int, look: Look) -> bytes:
    """Give one frame as people see it, from 1.

    Raises:
        NotThere: there is none of that number.
        TriageError: it cannot be decoded.
    """
    decoded = darkroom.decode(path, "real" if look.window else "voi")
    if number > len(decoded.pixels):
        msg = "There is no such frame."
        raise NotThere(msg)
    image = Image.fromarray(_grey(decoded, decoded.pixels[number - 1], look))
    image = _fitted(image, look)
    body = BytesIO()
    if look.media_type == "image/png":
        image.save(body, "PNG")
    else:
        image.save(body, "JPEG", quality=look.quality)
    return body.getvalue()


def _grey(decoded: Decoded, frame: npt.NDArray[np.float32], look: Look) -> Grey:
    """Give display values; dark to bright as a reader expects."""
    if look.window is not None:
        levels = _windowed(frame, *look.window)
    else:
        low, high = (0.0, 1.0) if decoded.voi_applied else np.percentile(frame, PERCENTILES)
        levels = np.clip((frame - low) / max(high - low, 1e-6), 0.0, 1.0)
    if decoded.inverted:
        levels = 1.0 - levels
    shown: Grey = np.rint(levels * 255.0).astype(np.uint8)
    return shown


def _windowed(frame: npt.NDArray[np.float32], centre: float, width: float, function: str) -> Any:  # noqa: ANN401 - an array
    """Apply a window (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if function == "sigmoid":
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(-4.0 * (frame - centre) / width))
    if function == "linear":
        centre, width = centre - 0.5, max(width - 1.0, 1e-6)
    return np.clip((frame - centre) / width + 0.5, 0.0, 1.0)


def _fitted(image: Image.Image, look: Look) -> Image.Image:
    """Cut the region out, and make it as large as fits the viewport; its shape stays."""
    if look.region is not None:
        left, top, width, height = look.region
        image = image.crop((left, top, min(left + width, image.width),
                            min(top + height, image.height)))  # fmt: skip
    if look.viewport is None:
        return image
    scale = min(look.viewport[0] / image.width, look.viewport[1] / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)
