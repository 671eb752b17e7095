"""The decoding child: ``python -m triage.preprocess.child FD MAX_PIXELS MAX_BYTES MAX_SECONDS``.

It answers one request after another until its socket closes. A request names the files; the child
answers with the size they claim, is given shared memory of that size, fills it, and says what it
found. It runs in a sandbox, never imports torch, and a crash of it harms nobody.
"""

import errno
import math
import mmap
import os
import socket
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from triage.errors import Broken, CodedError, Held, NotEligible
from triage.preprocess import pixels, sandbox, single
from triage.preprocess.channel import Channel, Closed

Answer = dict[str, Any]
Fill = Callable[..., Answer]
_NO_MEMORY: Final = "decoding needs more memory than it is given"
_SYSTEM: Final[dict[int | None, tuple[str, str]]] = {
    errno.ENOENT: ("corrupt", "a stored file is gone"),
    errno.EACCES: ("corrupt", "a stored file may not be read"),
    errno.EIO: ("corrupt", "a stored file cannot be read"),
    errno.ENOMEM: ("resource-limit", _NO_MEMORY),
}


def main() -> None:
    """Serve the socket that was handed over until it closes."""
    descriptor, max_pixels, max_bytes = (int(one) for one in sys.argv[1:4])
    seconds = float(sys.argv[4])
    # Warnings quote values from data sets; nobody reads them here.
    warnings.simplefilter("ignore")
    sandbox.enter(max_memory_bytes=max_bytes)
    channel = Channel(socket.socket(fileno=descriptor))
    try:
        channel.send({"ready": True})
        while True:
            _serve(channel, max_pixels=max_pixels, max_bytes=max_bytes, seconds=seconds)
    except Closed:
        return


def _serve(channel: Channel, *, max_pixels: int, max_bytes: int, seconds: float) -> None:
    request, _ = channel.receive()
    sandbox.allow_seconds(seconds)
    paths, frame = [Path(one) for one in request["files"]], request.get("frame")
    bounds = {"max_pixels": max_pixels, "max_memory_bytes": max_bytes}

    def size() -> Answer:
        if frame is None:
            claimed = pixels.claim(paths, **bounds)
        else:
            claimed = single.claim(paths[0], int(frame), **bounds)
        return {"shape": [claimed.frames, claimed.rows, claimed.columns]}

    claimed = _coded(size, otherwise=NotEligible(code="header"))
    channel.send(claimed)
    if "error" in claimed:
        return
    _, shared = channel.receive()
    if shared is None:
        raise Closed
    fill: Fill
    if frame is None:
        fill = partial(pixels.fill, paths, as_stored=bool(request.get("stored")))
    else:
        fill = partial(single.fill, paths[0], int(frame))
    work = partial(_fill, shared, claimed["shape"], fill, with_voi=bool(request["voi"]))
    channel.send(_coded(work, otherwise=Held(code="pixel-data")))


def _fill(shared: int, shape: list[int], fill: Fill, *, with_voi: bool) -> Answer:
    # Unmapped when the last array that looks at it is gone; closing it earlier would raise.
    memory = mmap.mmap(shared, 0)
    os.close(shared)
    out = np.frombuffer(memory, dtype=np.float32, count=math.prod(shape)).reshape(shape)
    return fill(out, with_voi=with_voi)


def _coded(work: Callable[[], Answer], *, otherwise: CodedError) -> Answer:
    """Do the work; give its answer, or the error as a coded reason. Never a value of the data."""
    try:
        return work()
    except CodedError as why:
        return _error(type(why), why.reason.code, why.reason.detail)
    except MemoryError:
        return _error(Broken, "resource-limit", _NO_MEMORY)
    except Exception as why:  # noqa: BLE001 - parsers and codecs raise whatever the bytes provoke
        number = why.errno if isinstance(why, OSError) else None
        if number in _SYSTEM:
            return _error(Broken, *_SYSTEM[number])
        return _error(type(otherwise), otherwise.reason.code, type(why).__name__)


def _error(kind: type[CodedError], code: str, detail: str) -> Answer:
    return {"error": kind.__name__, "code": code, "detail": detail}


if __name__ == "__main__":
    main()
