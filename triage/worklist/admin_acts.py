"""What admins do from their pages. Each act first shows what it will do, and is audited."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, HTTPException, Path, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from db import overview
from db.audit import MINOR, SUCCESS, Entry, Event, record
from db.tables import StudyRow
from triage.record import letters, retries
from triage.record.letters import NothingToResend
from triage.record.retries import NotFailed
from triage.record.withdrawals import Who
from triage.worklist import accounts, admin, auth, context
from triage.worklist.asking import YES, Sure, ask
from triage.worklist.auth import NotAccepted

router = APIRouter()
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
Text = Annotated[str, Form(max_length=300)]
EXAMINED_WITHIN_S: Final = 180.0


@router.post("/admin/failures/{study_id}/retry")
def retry_one(request: Request, study_id: Number, sure: Sure = "") -> Response:
    """Give one failed study another try."""
    if sure != YES:
        return _ask(request, f"Try study {study_id} again", "It goes on where it failed.", {})
    try:
        with context.of(request).database.begin() as session:
            for row in retries.failed(session, StudyRow.id == study_id) or _none():
                retries.retry(session, row, _who(request))
    except NotFailed:
        return _to("/admin/failures", "nothing")
    return _to("/admin/failures", "retry")


@router.post("/admin/failures/retry")
def retry_reason(request: Request, reason: Text = "", sure: Sure = "") -> Response:
    """Give every study that failed for one reason another try."""
    if sure != YES:
        said = f"Every study that failed for the reason {reason} goes on where it failed."
        return _ask(request, "Try all of one reason again", said, {"reason": [reason]})
    with context.of(request).database.begin() as session:
        rows = retries.failed(session, overview.failed_for(reason))
        for row in rows:
            retries.retry(session, row, _who(request))
    return _to("/admin/failures", "retry" if rows else "nothing")


@router.post("/admin/destinations/resend")
def resend(request: Request, name: Text = "", sure: Sure = "") -> Response:
    """Send every document again with which only a person gets further at a destination."""
    if sure != YES:
        said = f"Every document that {name} refused, or never took, is sent again: the same bytes."
        return _ask(request, "Send again", said, {"name": [name]})
    with context.of(request).database.begin() as session:
        dead = letters.dead_letters(session)
        numbers = [one.id for one in dead if one.destination == name]
        try:
            letters.resend(session, numbers, _who(request), destination=name)
        except NothingToResend:
            return _to("/admin/destinations", "nothing")
    return _to("/admin/destinations", "resend")


@router.post("/admin/users")
def make_user(
    request: Request,
    name: Text = "",
    password: Text = "",
    roles: Annotated[list[str], Form()] = [],  # noqa: B006 - FastAPI copies it
    sure: Sure = "",
) -> Response:
    """Make an account; the form has its question in itself, so that no password is sent back."""
    if sure != YES:
        raise HTTPException(400, "Go back and tick that the account is to be made.")
    try:
        with context.of(request).database.begin() as session:
            actor = context.viewer(request).name
            auth.create_user(session, name, password, " ".join(roles), actor=actor)
    except NotAccepted:
        return RedirectResponse("/admin/users?problem=refused", 303)
    return _to("/admin/users", "made")


@router.post("/admin/users/roles")
def give_roles(
    request: Request,
    name: Text = "",
    roles: Annotated[list[str], Form()] = [],  # noqa: B006 - FastAPI copies it
    sure: Sure = "",
) -> Response:
    """Give an account other roles; its sessions end."""
    if sure != YES:
        said = f"{name} gets the roles {', '.join(roles) or 'none'}, and signs in again."
        return _ask(request, "Change roles", said, {"name": [name], "roles": roles})

    def act(session: Session, actor: str) -> None:
        accounts.give_roles(session, name, roles, actor=actor)

    return _change(request, act)


@router.post("/admin/users/access")
def change_access(request: Request, name: Text = "", act: Text = "", sure: Sure = "") -> Response:
    """End an account's access, let it in again, or forget its wrong passwords."""
    if act not in ACTS:
        raise HTTPException(400, "There is no such act.")
    title, said, do, done = ACTS[act]
    if sure != YES:
        return _ask(request, title, said.format(name=name), {"name": [name], "act": [act]})
    return _change(request, lambda session, actor: do(session, name, actor=actor), done)


@router.post("/admin/health")
def examine(request: Request, sure: Sure = "") -> Response:
    """Run ``triage doctor`` and show what it found, audited."""
    if sure != YES:
        said = (
            "Every check of triage doctor runs now; it calls the destinations and the sources of "
            "counts and priors, stores nothing."
        )
        return _ask(request, "Examine the installation", said, {})
    checks = _examined(request)
    with context.of(request).database.begin() as session:
        who = _who(request)
        entry = Entry(
            event=Event.APPLICATION_ACTIVITY, kind="installation.examined", actor=who.name,
            actor_role=who.role, network_address=who.address, object_type="configuration",
            outcome=SUCCESS if checks and all(one["ok"] for one in checks) else MINOR,
            detail={"checks": len(checks), "crosses": sum(not one["ok"] for one in checks)},
        )  # fmt: skip
        record(session, entry)
        values = admin.standing(session, request)
    return context.page(
        request, "admin_health.html", {"place": "admin", **values, "checks": checks}
    )


ACTS: Final[dict[str, tuple[str, str, Any, str]]] = {
    "disable": (
        "End access", "{name} is signed out at once and cannot sign in.", accounts.disable,
        "changed",
    ),
    "enable": ("Let in again", "{name} may sign in again.", accounts.enable, "let-in"),
    "unlock": (
        "Unlock", "The wrong passwords of {name} are forgotten.", accounts.unlock, "unlocked",
    ),
}  # fmt: skip
"""Key of the form: its title, its question, what does it, and what is said of it then."""


def _change(request: Request, act: Any, done: str = "changed") -> Response:  # noqa: ANN401 - a function of a session
    try:
        with context.of(request).database.begin() as session:
            act(session, context.viewer(request).name)
    except NotAccepted:
        return RedirectResponse("/admin/users?problem=refused", 303)
    return _to("/admin/users", done)


def _examined(request: Request) -> Sequence[dict[str, Any]]:
    """Run the doctor in a process of its own: it needs tensors, which the web never loads."""
    settings = context.of(request).settings
    places = {"TRIAGE_STATE": str(settings.state), "TRIAGE_CONFIG": str(settings.config)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "triage", "doctor", "--json"],
            capture_output=True, timeout=EXAMINED_WITHIN_S, env=os.environ | places, check=False,
        )  # fmt: skip
        found: list[dict[str, Any]] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, OSError, ValueError) as why:
        fix = "run `triage doctor` on the console"
        return [{"name": "doctor", "ok": False, "found": type(why).__name__, "fix": fix}]
    return found


def _ask(request: Request, title: str, said: str, fields: dict[str, list[str]]) -> Response:
    return ask(request, title, said, fields, back=_back(request.url.path))


def _back(path: str) -> str:
    return "/".join(path.split("/")[:3])


def _to(path: str, done: str) -> Response:
    return RedirectResponse(f"{path}?done={done}", 303)


def _none() -> Sequence[StudyRow]:
    """Say that there is nothing to try again.

    Raises:
        NotFailed: always.
    """
    raise NotFailed


def _who(request: Request) -> Who:
    who = context.viewer(request)
    return Who(who.name, who.role, context.address(request))
