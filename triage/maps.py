"""Anomaly maps: what a detector said of every pixel, kept beside the rows and laid on its source.

A map is kept as the detector gave it, with the matrices that lead from its voxels to the source's
pixels. On the source's own grid it is interpolated only when somebody wants to see it there.

Shapes: N slices, H W rows and columns of the detector's input.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from triage.errors import Broken
from triage.sharing import NOBODY, Readers

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Matrices = npt.NDArray[np.float64]
_FRAMES: Final = "frames"
_NONE: Final = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class Alike:
    """The healthy references that look most like the series' strangest slice."""

    own: Bytes
    """(H, W): that slice itself, small."""
    thumbs: Bytes
    """(K, H, W), the nearest first, each of another study."""
    distances: Floats
    """(K), no unit."""
    usual: float
    """The median distance of a healthy study to the nearest other one."""


@dataclass(frozen=True, slots=True)
class AnomalyMap:
    """One detector's map of one series."""

    values: Floats
    """NHW, >= 0, no unit, higher is stranger."""
    to_source: Matrices
    """(1 or N, 4, 4): ``to_source_N44`` of ``models.contract.Origin``."""
    frames: tuple[tuple[str, int], ...]
    """SOP Instance UID and frame number, from 1, of each source frame, in geometric order."""
    healthy: Floats = field(default_factory=lambda: _NONE)
    """Ascending: the highest value of each healthy study's map, of the calibration's stratum that
    spoke about the series; empty where the calibration or the map is older than this."""
    alike: Alike | None = None
    """Where the calibration keeps references."""

    def as_strange(self, values: Floats) -> Floats:
        """Give each value's p, in [1 / (n + 1), 1]: in how many healthy studies a map is as high.

        That is (1 + #{h_i >= value}) / (n + 1) over the highest values h_i of n healthy maps, so
        one healthy study in 1 / p has such a point anywhere: a point is compared with the highest
        of whole studies, and however many it has, a healthy one gets p <= a anywhere with a
        probability of at most a (Westfall and Young 1993, the maximum's distribution).

        Raises:
            ValueError: no healthy map is known.
        """
        if not len(self.healthy):
            msg = "the map says nothing of healthy ones"
            raise ValueError(msg)
        above = len(self.healthy) - np.searchsorted(self.healthy, values, side="left")
        return ((1 + above) / (len(self.healthy) + 1)).astype(np.float32)

    def on_source(self, frame: int, rows: int, columns: int, *, step: int = 1) -> Floats:
        """Give the map on a source frame's pixels, or on every ``step``-th row and column of them.

        Linear between voxel centres; zero where the detector did not look.
        """
        from scipy import ndimage  # half a second, and most who import this turn no map

        single = len(self.to_source) > 1
        values = self.values[frame : frame + 1] if single else self.values
        matrix = self.to_source[frame if single else 0]
        to_map = np.linalg.inv(matrix)
        size = (1, -(-rows // step), -(-columns // step))
        turn = to_map[:3, :3] * [1, step, step]
        shift = to_map[:3, 3] + to_map[:3, 0] * (0 if single else frame)
        found = ndimage.affine_transform(
            values, turn, shift, output_shape=size, order=1, mode="nearest"
        )[0]
        found[~_inside(turn, shift, size, values.shape)] = 0.0
        return np.asarray(found, np.float32)


def keep(one: AnomalyMap, folder: Path, readers: Readers = NOBODY) -> str:
    """Write a map under its own SHA-256 and give that; the same map twice is one file."""
    tensors: dict[str, npt.NDArray[Any]] = {
        "values": np.ascontiguousarray(one.values, np.float32),
        "to_source": np.ascontiguousarray(one.to_source, np.float64),
        "healthy": np.ascontiguousarray(one.healthy, np.float32),
    }
    if one.alike is not None:
        tensors |= {
            "alike_own": np.ascontiguousarray(one.alike.own),
            "alike_thumbs": np.ascontiguousarray(one.alike.thumbs),
            "alike_distances": np.ascontiguousarray(one.alike.distances, np.float32),
            "alike_usual": np.asarray([one.alike.usual], np.float32),
        }
    content = save(tensors, metadata={_FRAMES: json.dumps(one.frames)})
    sha256 = hashlib.sha256(content).hexdigest()
    path = path_of(folder, sha256)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        readers.open(folder)
        readers.open(path.parent)
        descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        readers.give(Path(name))
        Path(name).replace(path)
    return sha256


def read(folder: Path, sha256: str) -> AnomalyMap:
    """Give a kept map.

    Raises:
        Broken: it is gone, or its bytes are no longer what they were.
    """
    try:
        content = path_of(folder, sha256).read_bytes()
    except OSError:
        raise Broken(code="corrupt", detail="A stored anomaly map is missing") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Broken(code="corrupt", detail="A stored anomaly map changed on disk")
    try:
        tensors, frames = load(content), _frames(content)
        healthy = tensors.get("healthy", _NONE)
        return AnomalyMap(tensors["values"], tensors["to_source"], frames, healthy, _alike(tensors))
    except (SafetensorError, KeyError, ValueError):
        raise Broken(code="corrupt", detail="A stored anomaly map is not readable") from None


def path_of(folder: Path, sha256: str) -> Path:
    """Give where a map is kept."""
    return folder / sha256[:2] / f"{sha256}.map"


def _alike(tensors: dict[str, npt.NDArray[Any]]) -> Alike | None:
    if "alike_own" not in tensors:
        return None
    return Alike(
        tensors["alike_own"], tensors["alike_thumbs"], tensors["alike_distances"],
        float(tensors["alike_usual"][0]),
    )  # fmt: skip


def _frames(content: bytes) -> tuple[tuple[str, int], ...]:
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return tuple(
        (str(uid), int(number)) for uid, number in json.loads(header["__metadata__"][_FRAMES])
    )


def _inside(
    turn: Matrices, shift: Matrices, size: tuple[int, int, int], shape: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    """Tell which pixels of one frame lie within the voxels, their outer halves included."""
    rows, columns = np.arange(size[1])[:, None], np.arange(size[2])[None, :]
    inside = np.ones(size[1:], dtype=bool)
    for axis, count in enumerate(shape):
        at = shift[axis] + turn[axis, 1] * rows + turn[axis, 2] * columns
        inside &= (at >= -0.5) & (at <= count - 0.5)
    return inside
