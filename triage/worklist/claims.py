"""Claim, take over, release, and the next study to read: one key each, plain forms behind them."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.engine import now
from db.listing import Listing
from db.reader_claims import held
from db.tables import StudyRow
from triage.worklist import access, claiming, context
from triage.worklist.asked import Asked, asked
from triage.worklist.claiming import Held, HeldByAnother, NoSuchReason
from triage.worklist.one_study import StudyId, done, is_script, study_of
from triage.worklist.sessions import Viewer

router = APIRouter()
Wanted = Annotated[Asked, Depends(asked)]
Reason = Annotated[str, Form(max_length=16)]
CLAIM: Final = "/studies/{study_id}/claim"
LOOKED_AT: Final = 500
"""Unread studies of which the next is chosen, from the top."""


@router.post(CLAIM)
def claim(request: Request, study_id: StudyId, wanted: Wanted, reason: Reason = "") -> Response:
    """Claim a study for whoever asks; another reader's only with a reason."""
    here, who = context.of(request), context.viewer(request)
    holds = timedelta(seconds=here.settings.site.reading.claim_s)
    try:
        with here.database.begin() as session:
            claiming.take(session, study_of(session, study_id), who, holds=holds, reason=reason)
    except NoSuchReason:
        raise HTTPException(400, "There is no such reason.") from None
    except (HeldByAnother, IntegrityError):  # the latter: two claimed it at once
        return _held(request, study_id, wanted)
    return done(request, study_id, wanted)


@router.post("/studies/{study_id}/release")
def release(request: Request, study_id: StudyId, wanted: Wanted) -> Response:
    """Give one's own claim back."""
    with context.of(request).database.begin() as session:
        claiming.release(session, study_of(session, study_id), context.viewer(request))
    return done(request, study_id, wanted)


@router.get("/studies/next")
def following(request: Request, wanted: Wanted) -> Response:
    """Lead to the highest unread study within the filters that no other reader has claimed."""
    here, unread = context.of(request), Asked(Listing.UNREAD, narrow=wanted.narrow)
    with here.database.reading() as session:
        first = next(iter(free(session, here, context.viewer(request), unread)), None)
    place = f"/{first}" if first else ""
    return RedirectResponse(f"/studies{place}{unread.query}", 303)


def free(session: Session, here: context.Context, who: Viewer, unread: Asked) -> list[int]:
    """Give the studies of a list that no other reader has claimed, the first of it first."""
    clock = here.clock(now(session))
    page = unread.worklist(clock).page(session, limit=LOOKED_AT)
    claims = held(session, [one.id for one in page.studies], clock.as_of)
    return [
        one.id
        for one in page.studies
        if one.id not in claims or claims[one.id].user_id == who.user_id
    ]


def of_study(session: Session, request: Request, study: StudyRow) -> Held | None:
    """Give who reads a study."""
    who = context.viewer(request)
    return claiming.shown(held(session, [study.id], now(session)).get(study.id), who)


def opening(request: Request, study: StudyRow) -> Callable[[Session], None] | None:
    """Give what a look at a study does: a reader has opened it, nobody else has."""
    if access.may(context.viewer(request).roles, "POST", CLAIM):
        return partial(claiming.note_opened, study=study)
    return None


def _held(request: Request, study_id: int, wanted: Asked) -> Response:
    """Say who reads the study, and ask why it is to be taken from them."""
    here, who = context.of(request), context.viewer(request)
    with here.database.reading() as session:
        study = study_of(session, study_id)
        row = held(session, [study_id], now(session)).get(study_id)
    one = claiming.shown(row, who)
    if is_script(request):
        return JSONResponse({"owner": one.owner if one else ""}, 409)
    values = {
        "study": study, "claim": one, "wanted": wanted, "claim_reasons": claiming.REASONS,
    }  # fmt: skip
    return context.page(request, "claim.html", values, status=409)
