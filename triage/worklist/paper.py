"""The evidence page: on one sheet, what was said about a study, by what, when, and who saw it."""

import json
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from db import feedback
from db.engine import now
from db.feedback import FeedbackRow, latest
from db.queries import Detail
from db.tables import GenerationRow
from triage.outputs.assessed import REASONS as WHY
from triage.outputs.assessed import Verdict
from triage.worklist import access, context, study_trail, view
from triage.worklist.one_study import StudyId, detail_of

router = APIRouter()
IDS: Final = 40
"""Audit rows that a sheet names."""


@router.get("/studies/{study_id}/evidence")
def sheet(request: Request, study_id: StudyId) -> Response:
    """Show one study's evidence as a sheet to print, audited as an access to it."""
    here = context.of(request)
    with here.database.begin() as session:
        detail = detail_of(session, study_id)
        study = detail.study
        context.audit_access(session, request, "evidence.seen", study.study_instance_uid)
        session.flush()
        clock = here.clock(now(session))
        reports = [one for one in detail.reports if one.generation == study.generation]
        values = {
            "detail": detail,
            "study": study,
            "row": view.row(study, reports, clock, detail.warnings),
            "decision": next(iter(detail.decisions), None),
            "closed": _closed(detail),
            "reports": reports,
            "thresholds": _thresholds(detail),
            "said": _said(session, request, detail),
            "why": WHY,
            "trail": study_trail.of(session, study, limit=IDS),
            "names_actors": watches(request),
            "sees_key_image": _sees_key_image(request),
            "printed_at": clock.as_of,
            "mode": here.settings.site.intended_use.mode,
        }
    return context.page(request, "evidence.html", values)


def watches(request: Request) -> bool:
    """Tell whether who is signed in may see who did what."""
    return not access.WATCHERS.isdisjoint(context.viewer(request).roles)


def _closed(detail: Detail) -> GenerationRow | None:
    """Give the generation that the sheet speaks of."""
    number = detail.study.generation
    return next((one for one in detail.generations if one.number == number), None)


def _thresholds(detail: Detail) -> list[tuple[str, float]] | None:
    """Give the thresholds that the latest decision was made by, rarest first; None if not kept."""
    kept = next((one.thresholds for one in detail.decisions), None)
    found: dict[str, float] = json.loads(kept or "{}")
    return None if kept is None else sorted(found.items(), key=lambda one: one[1])


def _said(session: Session, request: Request, detail: Detail) -> tuple[FeedbackRow, ...]:
    """Give the standing words on the study: to a reader their own, so that each judges alone."""
    who = context.viewer(request)
    mine = None if access.READERS.isdisjoint(who.roles) else who.user_id
    found = feedback.of_study(session, detail.study.id, detail.study.generation, mine)
    return tuple(one for one in latest(found) if one.verdict != Verdict.WITHDRAWN)


def _sees_key_image(request: Request) -> bool:
    """Tell whether the sheet may hold the image with the highest score, which marks a place."""
    research = context.of(request).settings.site.intended_use.mode == "research"
    roles = context.viewer(request).roles
    return research and access.may(roles, "GET", "/studies/{study_id}/preview.png")
