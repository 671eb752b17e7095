"""The reader's buttons: agree, disagree, unsure, missed, and undo. Plain forms, one key each."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, HTTPException, Path, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.tables import StudyRow
from triage.outputs.assessed import REASONS
from triage.worklist import context, said
from triage.worklist.asked import Asked, asked
from triage.worklist.said import NotSaid

router = APIRouter()
StudyId = Annotated[int, Path(ge=1, le=2**31 - 1)]
Wanted = Annotated[Asked, Depends(asked)]
Text = Annotated[str, Field(max_length=32)]
STALE: Final = "The study has changed. Go back, reload and say it again."
NOTHING: Final = "There is no word of yours to take back."
CHOICES: Final = tuple(REASONS.items())


class Word(BaseModel):
    """A form: what the reader says of one finding, or of the study."""

    verdict: Text
    finding: Text = ""
    """The detection's number; or ``said.DECISIVE`` from a list, which names none."""
    reason: Text = ""
    seen: Text = ""
    """When that list was made."""


@router.post("/studies/{study_id}/feedback")
def give(
    request: Request, study_id: StudyId, wanted: Wanted, word: Annotated[Word, Form()]
) -> Response:
    """Write what the reader says of one finding, or of the study."""
    here = context.of(request)
    mode = here.settings.site.intended_use.mode
    try:
        with here.database.begin() as session:
            study = _study(session, study_id)
            finding = word.finding
            if finding == said.DECISIVE:
                finding = said.decisive_at(session, study, word.seen)
            words = (word.verdict, word.reason, finding)
            said.say(session, study, context.viewer(request), words, mode=mode)
    except NotSaid:
        raise HTTPException(400, STALE) from None
    except IntegrityError:
        pass  # sent twice at once: the first of them was written
    return _done(request, study_id, wanted)


@router.post("/studies/{study_id}/feedback/undo")
def undo(
    request: Request, study_id: StudyId, wanted: Wanted, finding: Annotated[Text, Form()] = ""
) -> Response:
    """Take the reader's last word on the study back; with ``finding``, the one on this alone."""
    here = context.of(request)
    mode = here.settings.site.intended_use.mode
    try:
        with here.database.begin() as session:
            study = _study(session, study_id)
            who = context.viewer(request)
            undone = said.undo(session, study, who, mode=mode, finding=finding)
        if undone is None and _is_script(request):
            raise HTTPException(400, NOTHING)
    except NotSaid:
        raise HTTPException(400, STALE) from None
    except IntegrityError:
        pass  # undone twice at once
    return _done(request, study_id, wanted)


def _study(session: Session, study_id: int) -> StudyRow:
    study = session.get(StudyRow, study_id)
    if study is None:
        raise HTTPException(404, "There is no such study.")
    return study


def _done(request: Request, study_id: int, wanted: Asked) -> Response:
    """Answer a script with nothing, a form with the study's page."""
    if _is_script(request):
        return Response(status_code=204)
    return RedirectResponse(f"/studies/{study_id}{wanted.query}", 303)


def _is_script(request: Request) -> bool:
    return "x-csrf-token" in request.headers
