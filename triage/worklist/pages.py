"""The pages of one study, and of the files in quarantine."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from db import queries
from db.engine import now
from triage import evidence
from triage.deliver.meanings import label, meaning
from triage.errors import REASONS
from triage.priors import keep as priors
from triage.worklist import (
    access,
    claiming,
    claims,
    context,
    deliveries,
    doubts,
    feedback,
    paper,
    said,
    study_trail,
    view,
)
from triage.worklist.asked import Asked, asked
from triage.worklist.one_study import StudyId, detail_of

router = APIRouter()
MAX_QUARANTINE: Final = 500
Wanted = Annotated[Asked, Depends(asked)]


@router.get("/")
def home(request: Request) -> Response:
    """Lead to where this account starts."""
    start = access.home(context.viewer(request).roles)
    if start is None:
        raise HTTPException(404, "There is no page for your role here.")
    return RedirectResponse(start, 303)


@router.get("/studies/{study_id}")
def study(request: Request, study_id: StudyId, wanted: Wanted) -> Response:
    """Show one study, audited as an access to it."""
    here = context.of(request)
    with here.database.reading() as session:
        detail = detail_of(session, study_id)
        entry = context.access_entry(request, "study.seen", detail.study.study_instance_uid)
        noted = context.note(request, entry, claims.opening(request, detail.study))
        clock = here.clock(now(session))
        worklist = wanted.first().worklist(clock, context.viewer(request).user_id)
        before, behind = (
            worklist.neighbours(session, detail.study) if opens_others(request) else (None, None)
        )
        older = priors.of_study(session, study_id)
        known = evidence.shown(session, detail.study)
        words = said.panel(session, detail, context.viewer(request))
        doubted = doubts.of_study(session, request, detail.study)
        claim = claims.of_study(session, request, detail.study)
    trail = None
    if paper.watches(request):
        noted.result()  # whoever watches sees their own look, too
        with here.database.reading() as session:
            trail = study_trail.of(session, detail.study)
    current = [one for one in detail.reports if one.generation == detail.study.generation]
    values = {
        "detail": detail,
        "study": detail.study,
        "row": view.row(detail.study, current, clock, detail.warnings),
        "next_step": view.next_step(detail.study),
        "reason": REASONS.get(detail.study.reason_code or ""),
        "before": before,
        "behind": behind,
        "clock": clock,
        "wanted": wanted.first(),
        "words": words,
        "priors": older,
        "evidence": known,
        "reason_choices": feedback.CHOICES,
        "withdraw_choices": deliveries.CHOICES if deliveries.may_withdraw(request) else (),
        "may_resend": deliveries.may_resend(request),
        "meaning": meaning,
        "withdrawal_words": deliveries.words,
        "label": label,
        "trail": trail,
        "claim": claim,
        "claim_reasons": claiming.REASONS,
        **doubted,
    }
    return context.page(request, "study.html", values, noted=noted)


def opens_others(request: Request) -> bool:
    """Tell whether this person may open a study's neighbours: not where the glass was broken."""
    return access.may(context.viewer(request).roles, "GET", "/studies/{study_id}")


@router.get("/quarantine")
def quarantine(request: Request) -> Response:
    """Show what was acknowledged and is no part of a study."""
    with context.of(request).database.begin() as session:
        files = queries.quarantined(session, limit=MAX_QUARANTINE)
        context.audit_query(session, request, "quarantine.list", {"count": len(files)})
    values = {"files": files, "full": len(files) == MAX_QUARANTINE, "reasons": REASONS}
    return context.page(request, "quarantine.html", values)
