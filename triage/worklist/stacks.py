"""A study's series as stacks of frames in the order in which they are leafed through.

Slices of one direction lie in the order of the body, the way their numbers run; all others go by
number. Headers alone are read here, and kept for a while.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword

from triage.dicomweb import headers
from triage.dicomweb.catalog import Kept
from triage.dicomweb.headers import UNREADABLE
from triage.errors import Broken
from triage.worklist import looks, words
from triage.worklist.looks import Look

KEPT: Final = 32
"""Studies whose stacks are kept."""
MOST_FRAMES: Final = 20_000
GONE: Final = "The file is not kept here any more."
CORRUPT: Final = "The header cannot be read."
NO_PIXELS: Final = "It holds no pixels."
_PARALLEL: Final = 1e-3
_APART_MM: Final = 1e-3
_TAGS: Final = [tag for tag in map(tag_for_keyword, looks.TAGS) if tag is not None]
Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Frame:
    """One frame and what orders it."""

    sop_instance_uid: str
    number: int
    """Of the frame in its instance, from 1."""
    look: Look
    instance_number: int
    position: Vector | None
    reason: str = ""


class Stacks:
    """Gives a study's stacks, and remembers those that were read last."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[object, ...], list[dict[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, instances: Sequence[Kept]) -> list[dict[str, Any]]:
        """Give the series of these instances, for JSON, in the order of their numbers."""
        key = tuple((one.sha256, one.path.is_file()) for one in instances)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        found = stacks(instances)
        with self._lock:
            self._known[key] = found
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found


def stacks(instances: Sequence[Kept]) -> list[dict[str, Any]]:
    """Read the headers and put the frames in order."""
    series: dict[str, list[Kept]] = {}
    for one in instances:
        series.setdefault(one.series_instance_uid, []).append(one)
    found = [_stack(uid, members) for uid, members in series.items()]
    return sorted(found, key=lambda one: (one["number"] is None, one["number"] or 0, one["uid"]))


def _stack(uid: str, members: Sequence[Kept]) -> dict[str, Any]:
    frames: list[_Frame] = []
    told: dict[str, Any] = {"number": None, "description": "", "frame_ms": None}
    for one in members:
        header, reason = _header(one.path)
        with headers.quiet():
            frames += _frames(one, header, reason)
            if header is not None and told["frame_ms"] is None:
                told |= _told(header)
    known: list[Look] = []
    listed = [_entry(one, known) for one in _ordered(frames)]
    modality = words.straight(members[0].modality)
    return {"uid": uid, "modality": modality, **told, "looks": known, "frames": listed}


def _told(header: Dataset) -> dict[str, Any]:
    """Give what one header says of its series."""
    try:
        return {
            "number": looks.whole(header, "SeriesNumber"),
            "description": looks.text(header, "SeriesDescription"),
            "frame_ms": looks.frame_ms(header),
        }
    except UNREADABLE:
        return {}


def _header(path: Path) -> tuple[Dataset | None, str]:
    try:
        return headers.read(path, _TAGS), ""
    except FileNotFoundError:
        return None, GONE
    except Broken:
        return None, CORRUPT


def _frames(one: Kept, header: Dataset | None, reason: str) -> Iterable[_Frame]:
    """Give an instance's frames; one that says why where there is nothing to see."""
    if header is None:
        return [_Frame(one.sop_instance_uid, 1, {}, 0, None, reason)]
    try:
        if not looks.whole(header, "Rows") or not looks.whole(header, "Columns"):
            return [_Frame(one.sop_instance_uid, 1, {}, 0, None, NO_PIXELS)]
        number = looks.whole(header, "InstanceNumber") or 0
        count = min(max(looks.whole(header, "NumberOfFrames") or 1, 1), MOST_FRAMES)
        return [
            _Frame(
                one.sop_instance_uid, index + 1, looks.of(header, index), number,
                looks.position(header, index),
            )
            for index in range(count)
        ]  # fmt: skip
    except UNREADABLE:
        return [_Frame(one.sop_instance_uid, 1, {}, 0, None, CORRUPT)]


def _entry(frame: _Frame, known: list[Look]) -> dict[str, Any]:
    """Give one frame's line; frames that look alike share one look."""
    if frame.reason:
        return {"sop": frame.sop_instance_uid, "frame": 1, "reason": frame.reason}
    if not known or known[-1] != frame.look:
        known.append(frame.look)
    at = _place(frame)
    return {
        "sop": frame.sop_instance_uid,
        "frame": frame.number,
        "look": len(known) - 1,
        "at_mm": None if at is None else round(at, 3),
    }


def _ordered(frames: list[_Frame]) -> list[_Frame]:
    by_number = sorted(frames, key=lambda one: (one.instance_number, one.sop_instance_uid))
    places = [_place(one) for one in by_number]
    known = [one for one in places if one is not None]
    if len(known) < len(frames) or len(known) < 2 or not _is_one_direction(frames):
        return by_number
    ways = [after - before for before, after in pairwise(known)]
    falls = sum(way < 0 for way in ways) > len(ways) / 2
    ordered = sorted(by_number, key=lambda one: _place(one) or 0.0, reverse=falls)
    gaps = [abs((_place(b) or 0) - (_place(a) or 0)) for a, b in pairwise(ordered)]
    return ordered if min(gaps) > _APART_MM else by_number


def _is_one_direction(frames: Sequence[_Frame]) -> bool:
    first: Vector = frames[0].look.get("axes") or ()
    others: list[Vector] = [one.look.get("axes") or () for one in frames]
    return bool(first) and all(
        len(axes) == len(first)
        and all(abs(a - b) < _PARALLEL for a, b in zip(first, axes, strict=True))
        for axes in others
    )


def _place(frame: _Frame) -> float | None:
    """Give how far along its own normal a slice lies, mm (PS3.3 C.7.6.2.1.1)."""
    axes: Vector | None = frame.look.get("axes")
    if frame.position is None or not axes:
        return None
    row, column = axes[:3], axes[3:]
    normal = (
        row[1] * column[2] - row[2] * column[1],
        row[2] * column[0] - row[0] * column[2],
        row[0] * column[1] - row[1] * column[0],
    )
    return sum(a * b for a, b in zip(normal, frame.position, strict=True))
