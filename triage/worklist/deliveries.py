"""What destinations would not take, sending it again, and taking a report back: for admins."""

from typing import Annotated, Final

from fastapi import APIRouter, Form, HTTPException, Path, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session, defer

from db.tables import OutboxRow
from triage.deliver.meanings import fix, label, meaning
from triage.errors import TriageError
from triage.record import letters, withdrawals
from triage.record.withdrawals import REASONS, SUPERSEDED, Who
from triage.worklist import access, context
from triage.worklist.asking import YES, Sure, ask

router = APIRouter()
CHOICES: Final = tuple(
    (code, reason.words) for code, reason in REASONS.items() if code != SUPERSEDED
)
RESENT: Final = (
    "It goes to its destination once more, with the same UID: what is there already stays one."
)
WITHDRAWN: Final = (
    "Every destination that has the report is told, and it cannot be put back: a new analysis "
    "makes a new one."
)
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
Text = Annotated[str, Form(max_length=32)]


@router.get("/deliveries")
def deliveries(request: Request) -> Response:
    """Show the documents with which only a person gets further."""
    with context.of(request).database.begin() as session:
        found = letters.dead_letters(session)
        context.audit_query(session, request, "deliveries.list", {"count": len(found)})
    values = {
        "letters": found, "full": len(found) == letters.MOST, "meaning": meaning, "fix": fix,
        "label": label, "may_resend": may_resend(request),
    }  # fmt: skip
    return context.page(request, "deliveries.html", values)


@router.post("/deliveries/{outbox_id}/resend")
def resend(request: Request, outbox_id: Number, study: Text = "", sure: Sure = "") -> Response:
    """Have one document sent again, once it is confirmed; audited."""
    back = f"/studies/{int(study)}" if study.isdecimal() else "/deliveries"
    if sure != YES:
        with context.of(request).database.reading() as session:
            title = _resent(session, outbox_id)
        return ask(
            request, title, RESENT, {"study": [study]}, back=back, place="deliveries"
        )  # fmt: skip
    try:
        with context.of(request).database.begin() as session:
            letters.resend(session, [outbox_id], _who(request))
    except TriageError:
        raise HTTPException(404, "There is nothing to send again.") from None
    return RedirectResponse(back, 303)


def _resent(session: Session, outbox_id: int) -> str:
    """Say which document is to be sent again, of which study, and where."""
    row = session.get(OutboxRow, outbox_id, options=[defer(OutboxRow.content, raiseload=True)])
    if row is None:
        raise HTTPException(404, "There is nothing to send again.")
    kind = row.kind.replace("_", " ")
    return f"Send document {row.id}, {kind} of study {row.study_id}, to {row.destination} again"


@router.post("/studies/{study_id}/withdraw")
def withdraw(request: Request, study_id: Number, reason: Text, sure: Sure = "") -> Response:
    """Take the study's latest report back, with its reason, once it is confirmed; audited."""
    if reason not in dict(CHOICES):
        raise HTTPException(400, "Choose a reason.")
    if sure != YES:
        said = f"{words(reason)}. {WITHDRAWN}"
        return ask(
            request, f"Withdraw the report of study {study_id}", said, {"reason": [reason]},
            back=f"/studies/{study_id}", place="studies",
        )  # fmt: skip
    try:
        with context.of(request).database.begin() as session:
            withdrawals.withdraw(session, study_id, reason, _who(request))
    except TriageError:
        raise HTTPException(404, "There is no report to take back.") from None
    return RedirectResponse(f"/studies/{study_id}", 303)


def words(reason: str) -> str:
    """Give a withdrawal's reason in words."""
    return REASONS[reason].words if reason in REASONS else reason


def may_withdraw(request: Request) -> bool:
    """Tell whether who is signed in may take a report back."""
    roles = context.viewer(request).roles
    return access.may(roles, "POST", "/studies/{study_id}/withdraw")


def may_resend(request: Request) -> bool:
    """Tell whether who is signed in may send a document again."""
    roles = context.viewer(request).roles
    return access.may(roles, "POST", "/deliveries/{outbox_id}/resend")


def _who(request: Request) -> Who:
    who = context.viewer(request)
    return Who(who.name, who.role, context.address(request))
