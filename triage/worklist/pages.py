"""The pages for readers: the list, one study, search, and the files that could not be indexed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, HTTPException, Path, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from db import queries
from db.engine import now
from db.listing import Clock, Listing, Order
from db.tables import StudyRow
from triage import evidence
from triage.deliver.meanings import label, meaning
from triage.errors import REASONS
from triage.priors import keep as priors
from triage.worklist import (
    access,
    context,
    deliveries,
    doubts,
    feedback,
    paper,
    said,
    study_trail,
    view,
)
from triage.worklist.asked import Asked, asked, read, slug

router = APIRouter()
PAGE_SIZE: Final = 50
POLL_S: Final = 4
MAX_SEARCH: Final = 64
MAX_QUARANTINE: Final = 500
Wanted = Annotated[Asked, Depends(asked)]
StudyId = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("/")
def home(request: Request) -> Response:
    """Lead to where this account starts."""
    start = access.home(context.viewer(request).roles)
    if start is None:
        raise HTTPException(404, "There is no page for your role here.")
    return RedirectResponse(start, 303)


@router.get("/studies")
def studies(request: Request, wanted: Wanted) -> Response:
    """Show a list, audited as a query."""
    with context.of(request).database.begin() as session:
        values = _list(session, request, wanted)
        detail = {"list": wanted.listing, "sort": wanted.order, "count": len(values["rows"])}
        context.audit_query(session, request, "worklist.list", detail)
    return context.page(request, "studies.html", values)


@router.get("/studies/rows")
def rows(request: Request, wanted: Wanted) -> Response:
    """Give the same list again, for the page that is open already."""
    with context.of(request).database.reading() as session:
        values = _list(session, request, wanted)
    return context.page(request, "_list.html", values)


@router.post("/studies/search")
def search(request: Request, text: Annotated[str, Form()] = "") -> Response:
    """Find studies by patient or accession number. Posted, so that no name is in a URL."""
    here = context.of(request)
    text = "".join(one for one in text if one.isprintable()).strip()[:MAX_SEARCH]
    with here.database.begin() as session:
        found = queries.search(session, text, limit=PAGE_SIZE) if text else ()
        clock = here.clock(now(session))
        rows = _rows(session, found, clock)
        context.audit_query(session, request, "worklist.search", {"count": len(found)})
    values = {
        "text": text,
        "rows": rows,
        "full": len(found) == PAGE_SIZE,
        "clock": clock,
        "wanted": Asked(),
    }
    return context.page(request, "search.html", values)


@router.get("/studies/{study_id}")
def study(request: Request, study_id: StudyId, wanted: Wanted) -> Response:
    """Show one study, audited as an access to it."""
    here = context.of(request)
    with here.database.begin() as session:
        detail = queries.detail(session, study_id)
        if detail is None:
            raise HTTPException(404, "There is no such study.")
        clock = here.clock(now(session))
        worklist = wanted.first().worklist(clock)
        before, behind = worklist.neighbours(session, detail.study)
        older = priors.of_study(session, study_id)
        known = evidence.shown(session, detail.study)
        words = said.panel(session, detail, context.viewer(request))
        doubted = doubts.of_study(session, request, detail.study)
        context.audit_access(session, request, "study.seen", detail.study.study_instance_uid)
        session.flush()
        trail = study_trail.of(session, detail.study) if paper.watches(request) else None
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
        **doubted,
    }
    return context.page(request, "study.html", values)


@router.get("/quarantine")
def quarantine(request: Request) -> Response:
    """Show what was acknowledged but could not be indexed."""
    with context.of(request).database.begin() as session:
        files = queries.quarantined(session, limit=MAX_QUARANTINE)
        context.audit_query(session, request, "quarantine.list", {"count": len(files)})
    values = {"files": files, "full": len(files) == MAX_QUARANTINE, "reasons": REASONS}
    return context.page(request, "quarantine.html", values)


def _list(session: Session, request: Request, wanted: Asked) -> dict[str, Any]:
    here = context.of(request)
    page, clock = read(session, here, wanted, limit=PAGE_SIZE)
    counts = queries.counts(session, clock)
    return {
        "rows": _rows(session, page.studies, clock),
        "after": wanted.behind(page.after) if page.after else None,
        "lists": [(one, slug(one), wanted.of_list(one), counts[one]) for one in Listing],
        "orders": [(one, wanted.sorted_by(one)) for one in Order],
        "wanted": wanted,
        "clock": clock,
        "poll_s": POLL_S,
        "listener": here.settings.site.listener,
        "unbalanced": doubts.unbalanced(session),
    }


def _rows(session: Session, studies: Sequence[StudyRow], clock: Clock) -> list[view.Row]:
    numbers = [study.id for study in studies]
    reports, warnings = queries.reports(session, numbers), queries.warnings(session, numbers)
    doubted = doubts.warned(session, numbers)
    found = [
        view.row(study, reports.get(study.id, ()), clock, warnings.get(study.id, ()))
        for study in studies
    ]
    return [replace(one, warnings=one.warnings + doubted.get(one.study.id, ())) for one in found]
