"""The heat map of one frame, in research mode alone: the decisive detector's map, as it was made.

It is sent at the detector's own resolution and laid on the frame by the browser, in the units of
its calibration: how many healthy studies have a point as strong. What most of them have is zero,
and so transparent. In triage mode there is no such thing, whatever is kept.
"""

import json
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, HTTPException, Path, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import queries
from db.runs import MapRow
from db.tables import DetectionRow, StudyRow
from triage import maps
from triage.dicomweb import catalog, headers
from triage.dicomweb.catalog import Kept, Place
from triage.errors import Broken
from triage.maps import AnomalyMap
from triage.worklist import context, images
from triage.worklist.one_study import StudyId, study_of
from triage.worklist.showing import PIXELS, Asked
from triage.worklist.stacks import GONE

router = APIRouter()
NO_REFERENCES: Final = "The calibration keeps no healthy references."
NONE_HERE: Final = "No heat map is kept of this image."
NEAREST: Final = 3
LEVELS: Final = 255
BEYOND: Final = 191
"""The level of a point that is as strong as the strongest of all healthy studies."""
SHOWN_FROM_P: Final = 0.5
"""Weaker points are not drawn: more than half of the healthy studies have such a one."""
ROWS, COLUMNS = 0x00280010, 0x00280011
Levels = npt.NDArray[np.uint8]
Which = Annotated[int, Path(ge=0, le=NEAREST)]
COARSE_PX: Final = 512
"""Columns of what is sent, at most: a map is coarser than its image."""


@router.get("/studies/{study_id}/view/heat/{sop}/{frame}")
def heat(request: Request, study_id: StudyId, asked: Asked) -> Response:
    """Give the map of one frame: one byte a pixel, 0 not drawn, 255 the series' strongest."""
    here = context.of(request)
    _research_only(request)
    with here.database.begin() as session:
        study, found = _looked_at(session, request, study_id, "viewer.heat")
        place = Place(study=study.study_instance_uid, instance=asked.sop_instance_uid)
        kept = catalog.instances(session, here.settings.spool, place)
    if found is None or not kept:
        return JSONResponse({"detail": NONE_HERE}, 404)
    detection, sha256 = found
    try:
        one = maps.read(here.settings.results, sha256)
        size = _size(kept[0])
    except (Broken, OSError):
        return JSONResponse({"detail": GONE}, 410)
    frame = (asked.sop_instance_uid, asked.number)
    if frame not in one.frames:
        return JSONResponse({"detail": NONE_HERE}, 404)
    laid = levels(one, one.frames.index(frame), size, here.settings.site.reporting.region_from)
    facts = _facts(one, detection, laid) | _scale(one, here.settings.site.reporting.region_from)
    facts |= _compared(one)
    told = {"X-Heat": json.dumps(facts | {"step": _step(size), "full": size})}
    return Response(laid.tobytes(), media_type=PIXELS, headers=told)


@router.get("/studies/{study_id}/view/references/{place}")
def reference(request: Request, study_id: StudyId, place: Which) -> Response:
    """Give the series' strangest slice, small (0), or a healthy reference that looks like it."""
    here = context.of(request)
    _research_only(request)
    with here.database.begin() as session:
        _, found = _looked_at(session, request, study_id, "viewer.references")
    try:
        alike = maps.read(here.settings.results, found[1]).alike if found else None
    except (Broken, OSError):
        return JSONResponse({"detail": GONE}, 410)
    if alike is None or place > len(alike.thumbs):
        return JSONResponse({"detail": NO_REFERENCES}, 404)
    picture = alike.thumbs[place - 1] if place else alike.own
    return Response(images.encode(picture), media_type="image/png")


def _looked_at(
    session: Session, request: Request, study_id: int, kind: str
) -> tuple[StudyRow, tuple[DetectionRow, str] | None]:
    """Give a study with its decisive detection's map, and note who looked."""
    study = study_of(session, study_id)
    context.audit_access(session, request, kind, study.study_instance_uid)
    return study, _decisive(session, study)


def _research_only(request: Request) -> None:
    """Raise, outside research mode: HTTPException, 404."""
    if context.of(request).settings.site.intended_use.mode != "research":
        raise HTTPException(404, "There is no such page.")


def levels(one: AnomalyMap, frame: int, size: tuple[int, int], share: float) -> Levels:
    """Lay the map on a frame of ``size`` rows and columns, on every n-th of them.

    Up to ``BEYOND`` a level says in how many healthy studies a point is as strong, from one in
    two, as the logarithm of that; from there on how far it is above all of them, up to the series'
    highest value at 255. Where no healthy map is known, or one alone, 1 is ``share`` of that value.
    """
    top = max(float(one.values.max()), 1e-9)
    laid = one.on_source(frame, *size, step=_step(size))
    if not _is_ranked(one):
        return _scaled((laid / top - share) / (1 - share), 1, LEVELS)
    p, least = one.as_strange(laid), 1 / (len(one.healthy) + 1)
    highest = float(one.healthy[-1])
    within = _scaled(np.log(p / SHOWN_FROM_P) / np.log(least / SHOWN_FROM_P), 1, BEYOND)
    above = _scaled((laid - highest) / max(top - highest, 1e-9), BEYOND, LEVELS)
    return np.where(laid > highest, above, within)


def _is_ranked(one: AnomalyMap) -> bool:
    """Tell whether enough healthy maps are known for a point to be rarer than what is shown."""
    return 1 / (len(one.healthy) + 1) < SHOWN_FROM_P


def _scaled(share: maps.Floats, low: int, high: int) -> Levels:
    """Give the levels from ``low`` at 0 to ``high`` at 1, and 0 below."""
    shown = np.rint(low + np.clip(share, 0, 1) * (high - low))
    found: Levels = np.where(share >= 0, shown, 0).astype(np.uint8)
    return found


def _step(size: tuple[int, int]) -> int:
    return max(1, -(-max(size) // COARSE_PX))


def _size(kept: Kept) -> tuple[int, int]:
    header = headers.read(kept.path, [ROWS, COLUMNS])
    return int(header.get("Rows") or 1), int(header.get("Columns") or 1)


def _decisive(session: Session, study: StudyRow) -> tuple[DetectionRow, str] | None:
    """Give the detection that decided, and the name of its map; None where none is kept."""
    strongest = queries.decisive(study, queries.detections(session, study.id))
    if strongest is None:
        return None
    name = select(MapRow.sha256).where(MapRow.detection_id == strongest.id)
    sha256 = session.scalar(name)
    return (strongest, sha256) if sha256 else None


def _scale(one: AnomalyMap, share: float) -> dict[str, Any]:
    """Say what the levels mean: of how many healthy maps, or what share of the highest value."""
    if not _is_ranked(one):
        return {"from": share}
    least = float(one.as_strange(np.asarray([one.values.max()], np.float32))[0])
    return {
        "healthy": len(one.healthy), "from_p": SHOWN_FROM_P, "least_p": least, "beyond": BEYOND,
    }  # fmt: skip


def _compared(one: AnomalyMap) -> dict[str, Any]:
    """Say how near the healthy references are, where some are kept."""
    if one.alike is None:
        return {}
    return {"alike": [float(value) for value in one.alike.distances], "usual": one.alike.usual}


def _facts(one: AnomalyMap, detection: DetectionRow, laid: Levels) -> dict[str, Any]:
    """Say what the legend needs: the series' p-value, against whom, and the map's own size."""
    return {
        "rows": laid.shape[0],
        "columns": laid.shape[1],
        "map": list(one.values.shape[1:]),
        "p": detection.p_value,
        "n": detection.calibration_n,
        "stratum": detection.stratum,
        "detector": f"{detection.detector} {detection.version}",
        "series": detection.series_instance_uid,
    }
