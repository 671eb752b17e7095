"""WADO-RS (PS3.18 10.4): instances, metadata, bulk data, frames and pictures out of the spool.

A file is hashed before it leaves: what changed on disk is never given out.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from starlette.responses import Response, StreamingResponse

from triage.dicomweb import accepting, headers, pixels, wording
from triage.dicomweb.catalog import Kept
from triage.dicomweb.pixels import MEDIA, OCTETS, Darkroom, Look
from triage.errors import Broken, TriageError
from triage.spool import digest

DICOM: Final = "application/dicom"
CHUNK_BYTES: Final = 2**20
NATIVE: Final = frozenset((ExplicitVRLittleEndian, ImplicitVRLittleEndian))
PICTURES: Final = ("image/jpeg", "image/png")
WINDOW: Final = re.compile(r"(-?[\d.]+),([\d.]+)(?:,(linear|linear-exact|sigmoid))?")
NUMBERS: Final = re.compile(r"\d{1,7}")
MAX_WINDOW: Final = 1e9
MAX_FRAMES: Final = 1_000
"""Of one request."""


class Problem(TriageError):
    """An answer other than what was asked for."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request wants of what it names."""

    accept: str
    base: str
    """URL of the service."""
    query: Sequence[tuple[str, str]] = ()

    def first(self, name: str) -> str:
        """Give a query parameter's first value, or an empty text."""
        return next((value for key, value in self.query if key == name), "")


def instances(kept: Sequence[Kept], wish: Wish) -> Response:
    """Give whole instances, each as it is stored.

    Raises:
        Problem: 406, the client takes no application/dicom, or another transfer syntax only.
    """
    syntaxes = {one.transfer_syntax_uid for one in kept}
    takes = accepting.chosen(
        wish.accept, DICOM, lambda one: one.transfer_syntax in {"", "*"} or
        syntaxes == {one.transfer_syntax},
    )  # fmt: skip
    if takes is None:
        raise Problem(406, "Instances are given as they are stored: transfer-syntax=*.")
    there = present(kept)
    if not takes.is_multipart and len(there) == 1:
        return StreamingResponse(_file(there[0]), media_type=DICOM)
    boundary, body = accepting.parts(
        (f"{DICOM}; transfer-syntax={one.transfer_syntax_uid}", _file(one)) for one in there
    )
    status = 200 if len(there) == len(kept) else 206
    return StreamingResponse(body, status, media_type=accepting.content_type(boundary, DICOM))


def metadata(kept: Sequence[Kept], wish: Wish) -> Response:
    """Give headers, large values as addresses.

    Raises:
        Problem: 406, the client takes neither JSON nor XML.
    """
    there = present(kept)
    status = 200 if len(there) == len(kept) else 206
    json = wording.wanted(wish.accept, (wording.JSON,))
    if json:
        return StreamingResponse(_json_list(there, wish.base), status, media_type=json)
    if accepting.chosen(wish.accept, wording.XML) is None:
        raise Problem(406, f"Metadata are {wording.JSON}, or {wording.XML} in parts.")
    boundary, body = accepting.parts(
        (wording.XML, [wording.to_xml(header_of(one, wish.base))]) for one in there
    )
    return StreamingResponse(body, status, media_type=accepting.content_type(boundary, wording.XML))


def header_of(kept: Kept, base: str) -> dict[str, Any]:
    """Give one instance's header in the DICOM JSON Model.

    Raises:
        Broken: corrupt, it cannot be read.
    """
    dataset = headers.read(kept.path)
    bulk = f"{base}{_place(kept)}/bulkdata"
    found = headers.to_json(dataset, bulk)
    found["00083002"] = {"vr": "UI", "Value": [kept.transfer_syntax_uid]}
    if dataset.get("Rows") and dataset.get("Columns"):
        found["7FE00010"] = {"vr": "OW", "BulkDataURI": f"{bulk}/7FE00010"}
    return dict(sorted(found.items()))


def bulk_data(kept: Kept, path: str, wish: Wish, darkroom: Darkroom) -> Response:
    """Give one large value; pixel data are given frame by frame.

    Raises:
        Problem: 404, there is no such value; 406.
    """
    steps = path.split("/")
    if steps == ["7FE00010"]:
        count = pixels.frame_count(headers.read(kept.path))
        return frames(kept, range(1, min(count, MAX_FRAMES) + 1), wish, darkroom)
    if not all(re.fullmatch(r"[0-9A-F]{8}" if not at % 2 else r"\d{1,6}", one)
               for at, one in enumerate(steps)):  # fmt: skip
        raise Problem(404, "There is no such value.")
    takes = accepting.chosen(wish.accept, OCTETS)
    if takes is None:
        raise Problem(406, f"Bulk data are {OCTETS}.")
    value = _value(headers.read(kept.path), steps)
    return _parted([(OCTETS, [value])], OCTETS, in_parts=takes.is_multipart)


def frames(kept: Kept, numbers: Sequence[int], wish: Wish, darkroom: Darkroom) -> Response:
    """Give frames: compressed ones as they are stored where the client takes that, else decoded.

    Raises:
        Problem: 406.
        pixels.NotThere: there is no such frame.
        TriageError: they cannot be decoded.
    """
    header, syntax = headers.read(kept.path), kept.transfer_syntax_uid
    count = pixels.frame_count(header)
    if max(numbers) > count or min(numbers) < 1:
        raise Problem(404, "There is no such frame.")
    media = MEDIA.get(syntax, "")
    as_stored = None
    if media:
        as_stored = accepting.chosen(wish.accept, media, lambda one: _names(one, syntax)) or (
            accepting.chosen(wish.accept, OCTETS, lambda one: one.transfer_syntax in {"*", syntax})
        )
    plain = accepting.chosen(
        wish.accept, OCTETS, lambda one: one.transfer_syntax in {"", "*", ExplicitVRLittleEndian}
    )
    takes = as_stored or plain
    if takes is None:
        raise Problem(406, f"Frames are {media or OCTETS}, or {OCTETS}.")
    kind = f"{media}; transfer-syntax={syntax}" if as_stored else OCTETS
    found = []
    for number in numbers:
        if as_stored:
            content = pixels.compressed(kept.path, number, count)
        elif syntax in NATIVE:
            content = pixels.native(kept.path, header, number)
        else:
            content = pixels.uncompressed(darkroom, kept.path, header, number)
        found.append((kind, [content]))
    return _parted(found, media if as_stored else OCTETS, in_parts=takes.is_multipart)


def rendered(kept: Kept, numbers: Sequence[int], wish: Wish, darkroom: Darkroom) -> Response:
    """Give pictures of frames.

    Raises:
        Problem: 400 or 406.
        TriageError: they cannot be decoded.
    """
    look, in_parts = _look(wish), len(numbers) > 1
    found = [
        (look.media_type, [pixels.picture(darkroom, kept.path, number, look)]) for number in numbers
    ]
    return _parted(found, look.media_type, in_parts=in_parts)


def numbers_of(text: str) -> list[int]:
    """Read a list of frames.

    Raises:
        Problem: 400.
    """
    parts = text.split(",")
    if len(parts) > MAX_FRAMES or not all(NUMBERS.fullmatch(one) for one in parts):
        raise Problem(400, f"Frames are up to {MAX_FRAMES} whole numbers, from 1, with commas.")
    return [int(one) for one in parts]


def present(kept: Sequence[Kept]) -> list[Kept]:
    """Give those whose files are there.

    Raises:
        Problem: 410, all of them were let go.
    """
    there = [one for one in kept if one.path.is_file()]
    if not there:
        raise Problem(410, "The files are not kept here any more.")
    return there


def checked(kept: Kept) -> Path:
    """Give a file whose content is what came.

    Raises:
        Broken: corrupt, it changed on disk.
    """
    if digest(kept.path) != kept.sha256:
        raise Broken(code="corrupt", detail="a stored file changed on disk")
    return kept.path


def _file(kept: Kept) -> Iterator[bytes]:
    with checked(kept).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _json_list(kept: Sequence[Kept], base: str) -> Iterator[bytes]:
    for number, one in enumerate(kept):
        yield (b"," if number else b"[") + wording.to_json(header_of(one, base))
    yield b"]"


def _parted(found: Sequence[accepting.Part], media_type: str, *, in_parts: bool) -> Response:
    if not in_parts and len(found) == 1:
        kind, content = found[0]
        return Response(b"".join(content), media_type=kind)
    boundary, body = accepting.parts(found)
    return StreamingResponse(body, media_type=accepting.content_type(boundary, media_type))


def _names(one: accepting.Range, syntax: str) -> bool:
    return one.transfer_syntax in {"", "*", syntax}


def _place(kept: Kept) -> str:
    return (
        f"/studies/{kept.study_instance_uid}/series/{kept.series_instance_uid}"
        f"/instances/{kept.sop_instance_uid}"
    )


def _value(dataset: Dataset, steps: list[str]) -> bytes:
    found: Any = dataset
    for step in steps:
        if isinstance(found, Dataset):
            found = found.get(int(step, 16))
            if found is not None and found.VR == "SQ":
                found = found.value
        elif isinstance(found, Sequence) and int(step) < len(found):
            found = found[int(step)]
        else:
            found = None
    value = found.value if isinstance(found, DataElement) else None
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes):
        raise Problem(404, "There is no such value.")
    return value


def _look(wish: Wish) -> Look:
    """Read how a picture is wanted (PS3.18 8.3.5)."""
    media = wording.wanted(wish.first("accept") or wish.accept, PICTURES)
    if media is None:
        raise Problem(406, f"Pictures are {' or '.join(PICTURES)}.")
    quality = wish.first("quality") or str(pixels.QUALITY)
    if not quality.isdecimal() or not 1 <= int(quality[:4]) <= 100:
        raise Problem(400, "quality is a whole number from 1 to 100.")
    viewport, region = _viewport(wish.first("viewport"))
    return Look(media, _window(wish.first("window")), viewport, region, int(quality))


def _window(text: str) -> tuple[float, float, str] | None:
    if not text:
        return None
    found = WINDOW.fullmatch(text.lower())
    wrong = Problem(400, "window is centre,width,function.")
    if found is None:
        raise wrong
    try:
        centre, width = float(found.group(1)), float(found.group(2))
    except ValueError:
        raise wrong from None
    if not 0 < width < MAX_WINDOW or abs(centre) > MAX_WINDOW:
        raise wrong
    return centre, width, found.group(3) or "linear"


def _viewport(
    text: str,
) -> tuple[tuple[int, int] | None, tuple[int, int, int, int] | None]:
    if not text:
        return None, None
    parts = text.split(",")
    if len(parts) not in {2, 6} or not all(NUMBERS.fullmatch(one) for one in parts):
        raise Problem(400, "viewport is width,height or width,height,left,top,width,height.")
    sides = [int(one) for one in parts]
    if not all(1 <= one <= pixels.MAX_SIDE_PX for one in sides[:2]) or 0 in sides[4:]:
        raise Problem(400, f"a viewport's sides are 1 to {pixels.MAX_SIDE_PX} pixels.")
    region = (sides[2], sides[3], sides[4], sides[5]) if len(sides) == 6 else None
    return (sides[0], sides[1]), region
