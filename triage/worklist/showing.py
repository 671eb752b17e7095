"""One frame of a study or of its prior over HTTP, or in words why there is none."""

import json
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from triage.dicomweb import catalog
from triage.dicomweb.catalog import Place
from triage.errors import CodedError, TriageError
from triage.worklist import context
from triage.worklist.frames import Sent, Wanted
from triage.worklist.one_study import StudyId, study_of
from triage.worklist.stacks import GONE
from triage.worklist.viewing import PriorId, Shown, prior_row, same_kind, viewing

router = APIRouter()
MAX_WIDTH: Final = 8_192
MAX_FRAME: Final = 100_000
PIXELS: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Shot:
    """Which frame a request names, and how it is wanted."""

    sop_instance_uid: str
    number: int
    width: int
    voi: bool


def shot(
    sop: Annotated[str, Path(pattern=r"^[0-9.]{1,64}$")],
    frame: Annotated[int, Path(ge=1, le=MAX_FRAME)],
    width: Annotated[int, Query(ge=0, le=MAX_WIDTH)] = 0,
    *,
    voi: bool = False,
) -> Shot:
    """Read it: ``width`` columns to be shown in (0: all there are), ``voi`` for the VOI LUT."""
    return Shot(sop, frame, width, voi)


Asked = Annotated[Shot, Depends(shot)]


@router.get("/studies/{study_id}/view/frames/{sop}/{frame}")
def own(request: Request, study_id: StudyId, asked: Asked) -> Response:
    """Give one frame of the study."""
    with context.of(request).database.reading() as session:
        shown = Shown(study_of(session, study_id).study_instance_uid, is_prior=False)
    return _answer(request, shown, asked)


@router.get("/studies/{study_id}/view/priors/{prior_id}/frames/{sop}/{frame}")
def of_prior(request: Request, study_id: StudyId, prior_id: PriorId, asked: Asked) -> Response:
    """Give one frame of a prior."""
    with context.of(request).database.reading() as session:
        row = prior_row(session, study_id, prior_id)
        shown = Shown(row.study_instance_uid, is_prior=True)
    return _answer(request, shown, asked)


def _answer(request: Request, shown: Shown, asked: Shot) -> Response:
    here, kept = context.of(request), viewing(request)
    place = Place(study=shown.study_uid, instance=asked.sop_instance_uid)
    with here.database.reading() as session:
        found = same_kind(catalog.instances(session, here.settings.spool, place), shown)
    if not found:
        return JSONResponse({"detail": "There is no such image."}, 404)
    name = context.viewer(request).name
    if not kept.noticed.lately(name, shown.study_uid):
        with here.database.begin() as session:
            context.audit_access(session, request, "viewer.frames", shown.study_uid)
        kept.noticed.keep(name, shown.study_uid)
    first = found[0]
    wanted = Wanted(first.path, first.sha256, asked.number, asked.width, asked.voi)
    try:
        return _pixels(kept.frames.get(wanted), request)
    except (OSError, TriageError) as why:
        return _why_not(why)


def _pixels(made: Sent, request: Request) -> Response:
    facts = {"X-Frame": json.dumps(made.facts), "Vary": "Accept-Encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(made.plain, media_type=PIXELS, headers=facts)
    return Response(made.content, media_type=PIXELS, headers=facts | {"Content-Encoding": "gzip"})


def _why_not(why: Exception) -> Response:
    """Say why a viewport stays empty. No message holds a value from a data set."""
    if isinstance(why, OSError):
        return JSONResponse({"detail": GONE}, 410)
    if isinstance(why, CodedError):
        reason = why.reason
        detail = f"{reason.meaning}: {reason.detail}." if reason.detail else f"{reason.meaning}."
        return JSONResponse({"detail": detail, "code": reason.code}, 422)
    return JSONResponse({"detail": "The decoder is busy. Try again."}, 503)
