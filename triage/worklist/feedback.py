"""The reader's buttons: agree, disagree, unsure, missed, and undo. Plain forms, one key each."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import IntegrityError

from triage.outputs.assessed import REASONS
from triage.worklist import context, said
from triage.worklist.asked import Asked, asked
from triage.worklist.one_study import StudyId, done, is_script, study_of
from triage.worklist.said import NotSaid

router = APIRouter()
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
            study = study_of(session, study_id)
            finding = word.finding
            if finding == said.DECISIVE:
                finding = said.decisive_at(session, study, word.seen)
            words = (word.verdict, word.reason, finding)
            said.say(session, study, context.viewer(request), words, mode=mode)
    except NotSaid:
        raise HTTPException(400, STALE) from None
    except IntegrityError:
        pass  # sent twice at once: the first of them was written
    return done(request, study_id, wanted)


@router.post("/studies/{study_id}/feedback/undo")
def undo(
    request: Request, study_id: StudyId, wanted: Wanted, finding: Annotated[Text, Form()] = ""
) -> Response:
    """Take the reader's last word on the study back; with ``finding``, the one on this alone."""
    here = context.of(request)
    mode = here.settings.site.intended_use.mode
    try:
        with here.database.begin() as session:
            study = study_of(session, study_id)
            who = context.viewer(request)
            undone = said.undo(session, study, who, mode=mode, finding=finding)
        if undone is None and is_script(request):
            raise HTTPException(400, NOTHING)
    except NotSaid:
        raise HTTPException(400, STALE) from None
    except IntegrityError:
        pass  # undone twice at once
    return done(request, study_id, wanted)
