"""The viewer: its page, what it may show of a study and of its priors, and the frames themselves.

Every route is for those who see images. What is opened is noted as an access to the study it
belongs to; leafing through frames is noted once a minute for each reader and study.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy.orm import Session

from db.engine import now
from db.listing import Listing
from db.priors import PriorRow
from triage.dicomweb import catalog
from triage.dicomweb.catalog import Kept, Place
from triage.errors import REASONS
from triage.finding import Outcome
from triage.priors import keep as priors
from triage.settings import Decode
from triage.worklist import access, claims, context, feedback, said, view, words
from triage.worklist.asked import Asked, asked
from triage.worklist.frames import Frames
from triage.worklist.noticed import Noticed
from triage.worklist.one_study import StudyId, detail_of, study_of
from triage.worklist.stacks import Stacks

router = APIRouter()
NEXT: Final = "/studies/{study_id}/view/next"
NOTED_S: Final = 60.0
SHOWN: Final = frozenset(("here", "complete", "partial"))
"""States of a prior whose files are ours to show."""
PriorId = Annotated[int, Path(ge=1, le=2**31 - 1)]
WantedList = Annotated[Asked, Depends(asked)]


class Viewing:
    """What the viewer's routes keep: frames, stacks, and who was noted lately."""

    def __init__(self, limits: Decode) -> None:
        self.frames = Frames(limits)
        self.stacks = Stacks()
        self.noticed = Noticed(NOTED_S)

    def close(self) -> None:
        """End the decoding child."""
        self.frames.close()


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request is about: the study, or a prior of it."""

    study_uid: str
    is_prior: bool


@router.get("/studies/{study_id}/view")
def page(request: Request, study_id: StudyId, wanted: WantedList) -> Response:
    """Show the viewer's page, audited as an access to the study."""
    here = context.of(request)
    with here.database.reading() as session:
        detail = detail_of(session, study_id)
        entry = context.access_entry(request, "viewer.opened", detail.study.study_instance_uid)
        noted = context.note(request, entry, claims.opening(request, detail.study))
        clock = here.clock(now(session))
        panel = said.panel(session, detail, context.viewer(request))
        claim = claims.of_study(session, request, detail.study)
    current = [one for one in detail.reports if one.generation == detail.study.generation]
    may_say = access.may(context.viewer(request).roles, "POST", "/studies/{study_id}/feedback")
    may_ohif = access.may(context.viewer(request).roles, "GET", "/ohif")
    values = {
        "study": detail.study,
        "row": view.row(detail.study, current, clock, detail.warnings),
        "reason": REASONS.get(detail.study.reason_code or ""),
        "words": panel,
        "decisive": next((one for one in panel.findings if one.decisive), None),
        "reason_choices": feedback.CHOICES,
        "may_say": may_say,
        "claim": claim,
        "ohif": may_ohif and (here.settings.state / "ohif" / "index.html").is_file(),
        "wanted": wanted.first(),
        "clock": clock,
    }
    return context.page(request, "viewer.html", values, noted=noted)


@router.get(NEXT)
def following(request: Request, study_id: StudyId, wanted: WantedList) -> Response:
    """Lead to the highest unread study within the filters that nobody else reads, or to the list.

    Who sees this study in an emergency is led to its page.
    """
    here, unread = context.of(request), Asked(Listing.UNREAD, narrow=wanted.narrow)
    if not access.may(context.viewer(request).roles, "GET", NEXT):
        return RedirectResponse(f"/studies/{study_id}", 303)  # an emergency opens this one alone
    with here.database.reading() as session:
        free = claims.free(session, here, context.viewer(request), unread)
    place = next((f"/studies/{one}/view" for one in free if one != study_id), "/studies")
    return RedirectResponse(f"{place}{unread.query}", 303)


@router.get("/studies/{study_id}/view/series")
def series(request: Request, study_id: StudyId) -> Response:
    """Give the study's series, their frames in order, and the priors there are."""
    with context.of(request).database.begin() as session:
        study = study_of(session, study_id)
        older = priors.of_study(session, study_id)
        shown = Shown(study.study_instance_uid, is_prior=False)
        answer = _stacks(session, request, shown)
        answer["held"] = study.outcome == Outcome.HELD
    answer["priors"] = [_prior(one) for one in older]
    return JSONResponse(answer)


@router.get("/studies/{study_id}/view/priors/{prior_id}/series")
def prior_series(request: Request, study_id: StudyId, prior_id: PriorId) -> Response:
    """Give a prior's series and their frames in order."""
    with context.of(request).database.begin() as session:
        row = prior_row(session, study_id, prior_id)
        shown = Shown(row.study_instance_uid, is_prior=True)
        return JSONResponse(_stacks(session, request, shown))


def prior_row(session: Session, study_id: int, prior_id: int) -> PriorRow:
    """Give a prior of this study, and of no other, that may be shown."""
    row = session.get(PriorRow, prior_id)
    if row is None or row.study_id != study_id or row.state not in SHOWN:
        raise HTTPException(404, "There is no such prior.")
    return row


def _what(row: PriorRow) -> str:
    parts = (row.body_part, row.study_description)
    return words.straight(", ".join(part for part in parts if part))


def _prior(row: PriorRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "date": words.straight(row.study_date),
        "modality": words.straight(row.modality)[:16],
        "what": _what(row)[:120],
        "state": row.state,
        "shown": row.state in SHOWN,
    }


def _stacks(session: Session, request: Request, shown: Shown) -> dict[str, Any]:
    here = context.of(request)
    instances = catalog.instances(session, here.settings.spool, Place(study=shown.study_uid))
    kind = "viewer.prior" if shown.is_prior else "viewer.series"
    context.audit_access(session, request, kind, shown.study_uid)
    return {"series": viewing(request).stacks.of(same_kind(instances, shown))}


def same_kind(instances: list[Kept], shown: Shown) -> list[Kept]:
    """Leave out what was fetched as somebody's prior where the study itself is shown."""
    return instances if shown.is_prior else [one for one in instances if not one.is_prior]


def viewing(request: Request) -> Viewing:
    """Give what the application keeps for the viewer."""
    kept: Viewing = request.app.state.viewing
    return kept
