"""The preview: one instance, small, unmarked. Its pixels are decoded in the limited child."""

import math
import struct
import threading
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse

from db import queries
from db.tables import StudyRow
from triage.errors import TriageError
from triage.preprocess.decoder import Decoded, Decoder
from triage.settings import Decode
from triage.spool import stored_path
from triage.worklist import context

router = APIRouter()
LONGEST_PX: Final = 1024
MAX_SECONDS: Final = 20.0
MAX_PIXELS: Final = 100_000_000
KEPT: Final = 64
PERCENTILES: Final = (0.5, 99.5)
NO_PREVIEW: Final = context.FOLDER / "static" / "no-preview.svg"
Grey = npt.NDArray[np.uint8]


class Previews:
    """Makes previews one at a time and keeps the latest."""

    def __init__(self, limits: Decode) -> None:
        self._decoder = Decoder(
            limits.model_copy(
                update={
                    "max_seconds": min(limits.max_seconds, MAX_SECONDS),
                    "max_pixels": min(limits.max_pixels, MAX_PIXELS),
                }
            )
        )
        self._kept: OrderedDict[Path, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def png(self, path: Path) -> bytes:
        """Give a stored file's middle frame as a PNG.

        Raises:
            TriageError: it cannot be decoded.
            OSError: it is not there.
        """
        with self._lock:
            for gone in [one for one in self._kept if not one.exists()]:
                del self._kept[gone]  # what was let go is not shown out of memory either
            if path not in self._kept:
                path.stat()
                self._kept[path] = encode(shrink(grey(self._decoder.decode([path], voi=True))))
            self._kept.move_to_end(path)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return self._kept[path]

    def close(self) -> None:
        """End the decoding child."""
        with self._lock:
            self._decoder.close()


@router.get("/studies/{study_id}/preview.png")
def preview(request: Request, study_id: int) -> Response:
    """Give the study's preview; a drawing that says so where there is none."""
    here = context.of(request)
    research = here.settings.site.intended_use.mode == "research"
    with here.database.begin() as session:
        study = session.get(StudyRow, study_id)
        if study is None:
            raise HTTPException(404)
        instance = queries.preview(session, study, may_point=research)
        context.audit_access(session, request, "preview.seen", study.study_instance_uid)
    previews: Previews = request.app.state.previews
    if instance is not None:
        try:
            content = previews.png(stored_path(here.settings.spool, instance.sha256))
            return Response(content, media_type="image/png")
        except (TriageError, OSError):
            pass  # the page says that there is no preview; the analysis has its own coded reason
    return FileResponse(str(NO_PREVIEW), 404, media_type="image/svg+xml")


def grey(decoded: Decoded) -> Grey:
    """Give the middle frame as grey levels, dark to bright as a reader expects."""
    frame = decoded.pixels[len(decoded.pixels) // 2]
    low, high = (0.0, 1.0) if decoded.voi_applied else np.percentile(frame, PERCENTILES)
    levels = np.clip((frame - low) / max(high - low, 1e-6), 0.0, 1.0)
    if decoded.inverted:
        levels = 1.0 - levels
    image: Grey = np.rint(levels * 255.0).astype(np.uint8)
    return image


def shrink(image: Grey) -> Grey:
    """Average square blocks so that the longer side fits the display."""
    step = math.ceil(max(image.shape) / LONGEST_PX)
    if step == 1 or min(image.shape) < step:
        return image
    rows, columns = image.shape[0] // step, image.shape[1] // step
    blocks = image[: rows * step, : columns * step].reshape(rows, step, columns, step)
    small: Grey = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return small


def encode(image: Grey) -> bytes:
    """Give an 8-bit grey PNG (ISO/IEC 15948): header, one zlib stream of unfiltered lines, end."""
    rows, columns = image.shape
    lines = np.zeros((rows, columns + 1), np.uint8)
    lines[:, 1:] = image
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 1)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    )
