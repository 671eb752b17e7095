"""Break-glass: a study opened, for a while and with a reason, by whom no role opens it.

Who opens one is written down as a security alert (DCM 110113, Emergency Override Started 110127);
every later look names the opening; admins and auditors are shown it until one has looked at it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Form, HTTPException, Path, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.accounts import BreakGlassRow
from db.audit import Entry, Event, record
from db.engine import now
from db.tables import StudyRow, UserRow
from triage.worklist import asking, context
from triage.worklist.asking import YES, Sure
from triage.worklist.one_study import study_of
from triage.worklist.sessions import Viewer

router = APIRouter()
REASONS: Final[Mapping[str, str]] = {
    "emergency-care": "A patient is being treated now, and this study matters for it",
    "nobody-there": "Whoever may open it cannot be reached",
    "fault": "A fault of this study has to be found, and cannot be without seeing it",
}
SHORTEST: Final = 10
LONGEST: Final = 500
MOST: Final = 200
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


@dataclass(frozen=True, slots=True)
class Opened:
    """One opening as it is listed. No patient."""

    number: int
    name: str
    role: str
    study_id: int
    code: str
    reason: str
    opened_at: datetime
    until: datetime
    reviewed_by: str


@router.get("/studies/{study_id}/emergency")
def ask(request: Request, study_id: Number) -> Response:
    """Ask why; says nothing about the study."""
    return _form(request, study_id)


@router.post("/studies/{study_id}/emergency")
def open_it(
    request: Request,
    study_id: Number,
    code: Annotated[str, Form(max_length=32)] = "",
    reason: Annotated[str, Form(max_length=LONGEST)] = "",
) -> Response:
    """Open the study to this person until the time is over."""
    reason = "".join(one for one in reason if one.isprintable()).strip()
    if code not in REASONS or len(reason) < SHORTEST:
        return _form(request, study_id, f"Choose what it is, and say why in {SHORTEST} characters.")
    here = context.of(request)
    lasts = timedelta(seconds=here.settings.site.web.accounts.emergency_s)
    with here.database.begin() as session:
        study = study_of(session, study_id)
        who, at = context.viewer(request), now(session)
        row = BreakGlassRow(
            user_id=who.user_id, study_id=study_id, reason=f"{code} {reason}", opened_at=at,
            until=at + lasts,
        )  # fmt: skip
        session.add(row)
        session.flush()
        _audit(session, request, "break-glass.opened", study, {
            "reason": code, "emergency": row.id, "until": row.until.isoformat(),
        })  # fmt: skip
    return RedirectResponse(f"/studies/{study_id}", 303)


@router.get("/emergencies")
def listed(request: Request) -> Response:
    """Show who opened what and why, the latest first."""
    with context.of(request).database.begin() as session:
        found = openings(session)
        context.audit_query(session, request, "break-glass.list", {"count": len(found)})
    values = {"openings": found, "meanings": REASONS, "full": len(found) == MOST}
    return context.page(request, "emergencies.html", values)


@router.post("/emergencies/{number}/reviewed")
def review(request: Request, number: Number, sure: Sure = "") -> Response:
    """Note that an admin or auditor looked at an opening, once it is confirmed: never one's own."""
    who = context.viewer(request)
    with context.of(request).database.begin() as session:
        row = session.get(BreakGlassRow, number)
        if row is None or row.reviewed_at is not None:
            raise HTTPException(404, "Somebody looked at it already, or there is no such opening.")
        if row.user_id == who.user_id:
            raise HTTPException(400, "Somebody else must look at what you opened.")
        if sure != YES:
            return _asked(request, row, session.get_one(UserRow, row.user_id).name)
        row.reviewed_at, row.reviewed_by = now(session), who.name
        study = session.get_one(StudyRow, row.study_id)
        _audit(session, request, "break-glass.reviewed", study, {"emergency": row.id})
    return RedirectResponse("/emergencies", 303)


def standing(session: Session, who: Viewer, study_id: int) -> int:
    """Give the number of the opening by which this person sees the study now; 0 for none."""
    found = session.scalar(
        select(BreakGlassRow.id)
        .where(BreakGlassRow.user_id == who.user_id, BreakGlassRow.study_id == study_id)
        .where(BreakGlassRow.until > now(session))
        .order_by(BreakGlassRow.id.desc())
        .limit(1)
    )
    return found or 0


def openings(session: Session) -> list[Opened]:
    """Give the latest openings."""
    rows = session.execute(
        select(BreakGlassRow, UserRow)
        .join(UserRow, UserRow.id == BreakGlassRow.user_id)
        .order_by(BreakGlassRow.id.desc())
        .limit(MOST)
    )
    return [
        Opened(
            row.id, user.name, user.role, row.study_id, *_parted(row.reason), row.opened_at,
            row.until, row.reviewed_by,
        )
        for row, user in rows
    ]  # fmt: skip


def _parted(reason: str) -> tuple[str, str]:
    code, _, said = reason.partition(" ")
    return code, said


def _asked(request: Request, row: BreakGlassRow, name: str) -> Response:
    """Ask whether somebody has looked at an opening."""
    code, said = _parted(row.reason)
    return asking.ask(
        request,
        f"Note that you looked at how {name} opened study {row.study_id} in an emergency",
        f"{REASONS.get(code, code)}. They wrote: \N{LEFT DOUBLE QUOTATION MARK}{said}"
        "\N{RIGHT DOUBLE QUOTATION MARK} Your name stands beside it from then on, and nobody is "
        "reminded of it any more.",
        {},
        back="/emergencies",
        place="emergencies",
    )


def _form(request: Request, study_id: int, problem: str = "") -> Response:
    minutes = round(context.of(request).settings.site.web.accounts.emergency_s / 60)
    values = {
        "study_id": study_id, "reasons": REASONS, "problem": problem, "minutes": minutes,
        "longest": LONGEST,
    }  # fmt: skip
    return context.page(request, "emergency.html", values, status=400 if problem else 200)


def _audit(
    session: Session, request: Request, kind: str, study: StudyRow, detail: Mapping[str, object]
) -> None:
    who = context.viewer(request)
    entry = Entry(
        event=Event.SECURITY_ALERT, kind=kind, actor=who.name, actor_role=who.role,
        network_address=context.address(request), object_type="study",
        object_id=study.study_instance_uid, detail=detail,
    )  # fmt: skip
    record(session, entry)
