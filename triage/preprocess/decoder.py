"""The parent's side of the decoding child: start it, ask it, outlive it."""

import fcntl
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

import triage
from triage.errors import Broken, Held, NotEligible, TryAgain
from triage.preprocess.channel import Channel, Closed
from triage.preprocess.geometry import Geometry
from triage.settings import Decode

MAX_USES: Final = 500
"""Requests before the child is replaced: codecs leak."""
START_SECONDS: Final = 60.0
_ERRORS: Final = {"NotEligible": NotEligible, "Held": Held, "Broken": Broken}
_ENDED_FROM_OUTSIDE: Final = {0, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}


@dataclass(frozen=True, slots=True)
class Decoded:
    """The frames of a request, decoded."""

    pixels: npt.NDArray[np.float32]
    """KRC (frames, rows, columns), in the order of the files; HU for CT."""
    geometry: Geometry | None
    """None where the headers do not place the frames in space."""
    inverted: bool
    """MONOCHROME1: the lowest value is the brightest."""
    voi_applied: bool
    """The values are display values in [0, 1]."""
    samples: int = 1
    """3 for one frame of colour: K R (3 C), red, green and blue of a pixel side by side, 0-255."""


class _Strict(BaseModel):
    """What the child says is checked like anything else that comes from outside."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Shape(_Strict):
    shape: tuple[int, int, int]


class _Planes(_Strict):
    origins_mm: tuple[tuple[float, float, float], ...]
    orientation: tuple[float, float, float, float, float, float]
    spacing_mm: tuple[float, float]
    thickness_mm: float


class _Found(_Strict):
    planes: _Planes | None
    inverted: bool
    voi_applied: bool
    samples: int = 1


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    channel: Channel
    owner: int = field(default_factory=os.getpid)
    uses: int = 0

    def end(self) -> int:
        """Kill and reap it; give how it ended, as ``Popen.returncode``."""
        self.channel.close()
        if self.owner != os.getpid():
            return 0
        self.process.kill()
        return self.process.wait()


class Decoder:
    """Decodes files in a limited child process, started at the first use and replaced when it dies.

    Not for use by several threads at once: one decoder a worker.
    """

    def __init__(self, limits: Decode) -> None:
        self._limits = limits
        self._child: _Child | None = None

    def __enter__(self) -> Self:
        """Give the decoder itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the child."""
        self.close()

    def decode(self, paths: Sequence[Path], *, voi: bool = False, stored: bool = False) -> Decoded:
        """Decode files of equal size, in order, to real units, or to display values with ``voi``.

        ``stored`` gives the stored values, as numbers of 24 bits at most, and no geometry.

        Raises:
            NotEligible: header or pixel-data: not grey, sizes differ, no rescale for CT.
            Held: pixel-data, it cannot be decoded.
            Broken: resource-limit or crashed; it would happen again.
            TryAgain: something else ended the child.
        """
        return self._decode({"files": [str(path) for path in paths], "voi": voi, "stored": stored})

    def frame(self, path: Path, number: int, *, voi: bool = False) -> Decoded:
        """Decode one frame, from 1, grey or colour, and no other frame of the file.

        Raises:
            NotEligible, Held, Broken, TryAgain: as ``decode``.
        """
        return self._decode({"files": [str(path)], "voi": voi, "frame": number - 1})

    def _decode(self, request: dict[str, Any]) -> Decoded:
        child = self._ready()
        deadline = time.monotonic() + self._limits.max_seconds
        try:
            return self._ask(child.channel, request, deadline)
        except TimeoutError:
            self.close()
            detail = f"decoding took longer than {self._limits.max_seconds:g} s"
            raise Broken(code="resource-limit", detail=detail) from None
        except (Closed, ValidationError):
            raise self._post_mortem(child) from None
        except (NotEligible, Held):
            raise
        except BaseException:
            # Memory that ran out is not given back, and an answer that nobody awaited would be
            # taken for the next request's.
            self.close()
            raise

    def start(self) -> None:
        """Have the child ready before the first request comes.

        Raises:
            TryAgain, Broken: it did not come up.
        """
        self._ready()

    def close(self) -> None:
        """End the child; the next request starts another."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def _ready(self) -> _Child:
        child = self._child
        if child is None or child.uses >= MAX_USES or child.owner != os.getpid():
            self.close()
            child = self._child = self._start()
            self._await(child)
        child.uses += 1
        return child

    def _start(self) -> _Child:
        ours, theirs = socket.socketpair()
        limits = (
            self._limits.max_pixels,
            self._limits.max_memory_bytes,
            self._limits.max_seconds,
        )
        command = [sys.executable, "-P", "-s", "-B", "-m", "triage.preprocess.child"]
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*command, str(theirs.fileno()), *(str(limit) for limit in limits)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
            )
        return _Child(process, Channel(ours))

    def _await(self, child: _Child) -> None:
        """Wait until the child has imported what it needs; that is not decoding time."""
        try:
            child.channel.receive(deadline=time.monotonic() + START_SECONDS)
        except (Closed, TimeoutError):
            raise self._post_mortem(child) from None

    def _ask(self, channel: Channel, request: dict[str, Any], deadline: float) -> Decoded:
        channel.send(request)
        shape = _Shape.model_validate(_said(channel, deadline)).shape
        count = shape[0] * shape[1] * shape[2]
        if min(shape) < 1 or count > self._limits.max_pixels:
            raise Closed
        with _shared_memory(4 * count) as shared:
            channel.send({"go": True}, file=shared)
            found = _Found.model_validate(_said(channel, deadline))
            memory = mmap.mmap(shared, 4 * count)
        pixels = np.frombuffer(memory, dtype=np.float32).reshape(shape)
        geometry = None if found.planes is None else Geometry(**dict(found.planes))
        return Decoded(pixels, geometry, found.inverted, found.voi_applied, found.samples)

    def _post_mortem(self, child: _Child) -> Broken | TryAgain:
        """Say what ended the child, by how it ended."""
        try:
            code = child.process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            code = -signal.SIGABRT
        self.close()
        if code == -signal.SIGXCPU:
            return Broken(code="resource-limit", detail="decoding used too much processor time")
        if code in _ENDED_FROM_OUTSIDE:
            msg = "the decoding process was ended from outside"
            return TryAgain(msg)
        return Broken(code="crashed", detail=f"the decoding process ended with {code}")


def _said(channel: Channel, deadline: float) -> dict[str, Any]:
    """Give the child's next message, raising the error it may be."""
    message, _ = channel.receive(deadline=deadline)
    if "error" in message:
        kind = _ERRORS.get(str(message["error"]), Broken)
        raise kind(code=str(message.get("code")), detail=str(message.get("detail")))
    return message


def _environment() -> dict[str, str]:
    """Give the child a bare environment: no credentials, one thread, our own code."""
    root = Path(triage.__file__).parent.parent
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    return {"PYTHONPATH": str(root), "PATH": os.defpath, "LC_ALL": "C.UTF-8", **threads}


@contextmanager
def _shared_memory(size: int) -> Iterator[int]:
    """Lend a nameless open file of ``size`` bytes whose size the child cannot change."""
    sealed = hasattr(os, "memfd_create")
    shared = os.memfd_create("pixels", os.MFD_ALLOW_SEALING) if sealed else _temporary()
    try:
        os.ftruncate(shared, size)
        if sealed:
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(shared, fcntl.F_ADD_SEALS, seals)
        yield shared
    finally:
        os.close(shared)


def _temporary() -> int:
    descriptor, name = tempfile.mkstemp()
    Path(name).unlink()
    return descriptor
