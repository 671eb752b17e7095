"""What every route about one study needs: its number, its row, and the answer to what was done."""

from typing import Annotated

from fastapi import HTTPException, Path, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from db import queries
from db.queries import Detail
from db.tables import StudyRow
from triage.worklist.asked import Asked

StudyId = Annotated[int, Path(ge=1, le=2**31 - 1)]
MISSING = "There is no such study."


def study_of(session: Session, study_id: int) -> StudyRow:
    """Give a study.

    Raises:
        HTTPException: 404, there is none.
    """
    study = session.get(StudyRow, study_id)
    if study is None:
        raise HTTPException(404, MISSING)
    return study


def detail_of(session: Session, study_id: int) -> Detail:
    """Give a study with everything that is known about it.

    Raises:
        HTTPException: 404, there is none.
    """
    detail = queries.detail(session, study_id)
    if detail is None:
        raise HTTPException(404, MISSING)
    return detail


def is_script(request: Request) -> bool:
    """Tell whether a script asks, which shows the answer itself."""
    return "x-csrf-token" in request.headers


def done(request: Request, study_id: int, wanted: Asked) -> Response:
    """Answer a script with nothing, a form with the study's page."""
    if is_script(request):
        return Response(status_code=204)
    return RedirectResponse(f"/studies/{study_id}{wanted.query}", 303)
