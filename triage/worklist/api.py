"""The list for programs: JSON, under the same session."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request

from db import queries
from db.tables import OutboxRow, StudyRow
from triage.worklist import context, view, words
from triage.worklist.asked import read
from triage.worklist.lists import PAGE_SIZE, Wanted

router = APIRouter(prefix="/api")
MAX_LIMIT: Final = 500
SENT: Final = (
    "patient_id", "patient_name", "accession_number", "study_date", "modality", "body_part",
)  # fmt: skip
"""What a sender wrote, in full; only marks that turn the writing around them are taken out."""
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]


@router.get("/studies")
def studies(request: Request, wanted: Wanted, limit: Limit = PAGE_SIZE) -> dict[str, Any]:
    """Give one page of a list, and the cursor of the next."""
    here, who = context.of(request), context.viewer(request)
    with here.database.begin() as session:
        page, clock = read(session, here, wanted, limit=limit, user_id=who.user_id)
        numbers = [study.id for study in page.studies]
        reports, warnings = queries.reports(session, numbers), queries.warnings(session, numbers)
        detail = {"list": wanted.listing, "sort": wanted.order, "count": len(page.studies)}
        context.audit_query(session, request, "worklist.api", detail)
    return {
        "as_of": words.iso(clock.as_of),
        "notice": context.DISCLAIMER,
        "mode": here.settings.site.intended_use.mode,
        "studies": [
            _study(study, reports.get(study.id, ()))
            | {"promoted": clock.promotes(study), "overdue": clock.is_overdue(study)}
            | {"warnings": [one.code for one in warnings.get(study.id, ())]}
            for study in page.studies
        ],
        "after": str(page.after) if page.after else None,
    }


def _study(study: StudyRow, reports: tuple[OutboxRow, ...]) -> dict[str, Any]:
    return {
        "id": study.id,
        "study_instance_uid": study.study_instance_uid,
        "state": study.state,
        "outcome": study.outcome,
        "priority": study.priority,
        "priority_name": study.priority_name,
        "rank": study.rank,
        "score": study.score,
        "sentence": study.sentence,
        "reason": study.reason_code,
        "generation": study.generation,
        "received_at": words.iso(study.received_at),
        **{name: words.straight(getattr(study, name)) for name in SENT},
        "report": view.report(study, reports).word,
    }
