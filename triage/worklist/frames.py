"""Frames as a browser draws them: 16 bits in real units, or colour in 8, small enough to send.

They are decoded in a child of their own and kept in memory, compressed, within a bound. Nothing is
written to disk: a study that is let go leaves nothing here.

Shapes: R rows, C columns of what is sent.
"""

import gzip
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from triage.errors import Broken
from triage.preprocess.decoder import Decoded, Decoder
from triage.settings import Decode
from triage.spool import digest

MAX_SECONDS: Final = 20.0
MAX_PIXELS: Final = 200_000_000
KEPT_BYTES: Final = 192 * 2**20
CHECKED: Final = 4_096
"""Files whose hash is remembered as right, until their size or time changes."""
LEVEL: Final = 1
"""Of gzip: 5 ms for a slice of 512 x 512."""
COLOUR: Final = 3
LOWEST: Final = -32_768
STEPS: Final = 65_535
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which frame, and how."""

    path: Path
    sha256: str
    number: int
    """From 1."""
    width: int = 0
    """Columns it is shown in; 0 sends it as it is."""
    voi: bool = False
    """Values for display, out of the VOI LUT of the header, instead of real units."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One frame as it is sent."""

    facts: dict[str, Any]
    content: bytes
    """gzip of RC int16, little endian, or of RC3 bytes."""

    @property
    def plain(self) -> bytes:
        """Give the content for who takes no gzip."""
        return gzip.decompress(self.content)


class Frames:
    """Decodes one frame at a time and keeps the latest."""

    def __init__(self, limits: Decode) -> None:
        bounds = {
            "max_seconds": min(limits.max_seconds, MAX_SECONDS),
            "max_pixels": min(limits.max_pixels, MAX_PIXELS),
        }
        self._decoder = Decoder(limits.model_copy(update=bounds))
        self._kept: OrderedDict[Wanted, Sent] = OrderedDict()
        self._bytes = 0
        self._right: OrderedDict[tuple[Path, int, int], None] = OrderedDict()
        self._lock, self._decoding = threading.Lock(), threading.Lock()

    def get(self, wanted: Wanted) -> Sent:
        """Give a frame.

        Raises:
            TriageError: it cannot be decoded, or its file changed on disk.
            OSError: its file is gone.
        """
        state = wanted.path.stat()  # what was let go is not shown out of memory either
        with self._lock:
            if wanted in self._kept:
                self._kept.move_to_end(wanted)
                return self._kept[wanted]
        self._check(wanted, (wanted.path, state.st_size, state.st_mtime_ns))
        with self._decoding:
            decoded = self._decoder.frame(wanted.path, wanted.number, voi=wanted.voi)
        made = sent(decoded, wanted.width)
        self._keep(wanted, made)
        return made

    @property
    def kept_bytes(self) -> int:
        """Give how much is kept in memory."""
        return self._bytes

    def close(self) -> None:
        """End the decoding child."""
        with self._decoding:
            self._decoder.close()

    def _keep(self, wanted: Wanted, made: Sent) -> None:
        with self._lock:
            if wanted not in self._kept:
                self._kept[wanted] = made
                self._bytes += len(made.content)
            while self._bytes > KEPT_BYTES and len(self._kept) > 1:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= len(oldest.content)

    def _check(self, wanted: Wanted, state: tuple[Path, int, int]) -> None:
        with self._lock:
            if state in self._right:
                return
        if digest(wanted.path) != wanted.sha256:
            raise Broken(code="corrupt", detail="a stored file changed on disk")
        with self._lock:
            self._right[state] = None
            while len(self._right) > CHECKED:
                self._right.popitem(last=False)


def sent(decoded: Decoded, width: int) -> Sent:
    """Give a decoded frame as it is sent, at most ``width`` columns wide (0: as it is)."""
    values: Floats = decoded.pixels[0]
    if not np.isfinite(values.sum()):
        values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    if decoded.samples == COLOUR:
        values = values.reshape(values.shape[0], -1, COLOUR)
    rows, columns = values.shape[:2]
    is_reduced = 0 < width < columns
    is_whole = decoded.samples == COLOUR or bool((values == np.rint(values)).all())
    if is_reduced:
        values = reduced(values, width)
    if is_whole:
        values = np.rint(values)
    facts: dict[str, Any] = {
        "rows": values.shape[0], "columns": values.shape[1], "full": [rows, columns],
        "samples": decoded.samples, "reduced": is_reduced, "inverted": decoded.inverted,
        "voi": decoded.voi_applied, "rescaled": True,
    }  # fmt: skip
    if decoded.samples == COLOUR:
        return Sent(facts, _squeezed(values.astype(np.uint8)))
    stored, slope, intercept = packed(values, is_whole=is_whole)
    facts |= {"slope": slope, "intercept": intercept}
    return Sent(facts, _squeezed(stored))


def reduced(values: Floats, width: int) -> Floats:
    """Give the means over the areas that the pixels of a smaller picture stand for."""
    rows, columns = values.shape[:2]
    size = (width, max(1, round(rows * width / columns)))
    planes = values[..., None] if values.ndim == 2 else values
    small = [
        np.asarray(Image.fromarray(planes[..., one]).resize(size, Image.Resampling.BOX))
        for one in range(planes.shape[2])
    ]
    found: Floats = np.stack(small, axis=-1).astype(np.float32)
    return found[..., 0] if values.ndim == 2 else found


def packed(values: Floats, *, is_whole: bool) -> tuple[npt.NDArray[np.int16], float, float]:
    """Give 16-bit values, and slope and intercept that lead back to real units.

    Whole numbers that span 16 bits or less come back exactly; all others in 65,535 even steps.
    """
    lowest, highest = float(values.min()), float(values.max())
    if is_whole and highest - lowest <= STEPS:
        slope = 1.0
        intercept = 0.0 if lowest >= LOWEST and highest <= -LOWEST - 1 else lowest - LOWEST
    else:
        slope = max(highest - lowest, 1e-9) / STEPS
        intercept = lowest - LOWEST * slope
    stored = np.rint((values.astype(np.float64) - intercept) / slope)
    return np.clip(stored, LOWEST, -LOWEST - 1).astype("<i2"), slope, intercept


def _squeezed(values: npt.NDArray[Any]) -> bytes:
    return gzip.compress(np.ascontiguousarray(values).tobytes(), LEVEL, mtime=0)
