"""The account's own page: roles, password, second factor."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup
from sqlalchemy.orm import Session

from db.tables import UserRow
from triage.worklist import accounts, context, factor, passwords, sessions
from triage.worklist.auth import NotAccepted
from triage.worklist.signin import set_cookie

router = APIRouter()
PAGE: Final = "/account"
WRONG: Final = "The present password is wrong."
Text = Annotated[str, Form(max_length=256)]


@router.get("/account")
def show(request: Request) -> Response:
    """Show the account of whoever is signed in."""
    return _page(request)


@router.post("/account/password")
def password(request: Request, present: Text, new: Text, again: Text) -> Response:
    """Change the password: every session ends, and this one goes on under a new token."""
    here = context.of(request)
    if new != again:
        return _page(request, "The two passwords differ.")
    try:
        with here.database.begin() as session:
            user = _proved(session, request, present)
            if user is not None:
                address = context.address(request)
                accounts.set_password(session, user, new, actor=user.name, address=address)
                token = sessions.open_session(session, user)
    except NotAccepted as why:
        return _page(request, str(why))
    if user is None:
        return _page(request, WRONG)
    answer = RedirectResponse(PAGE, 303)
    set_cookie(request, answer, here.session_cookie, token)
    return answer


@router.post("/account/factor")
def begin(request: Request) -> Response:
    """Make a second factor that counts once a code of it was shown."""
    here = context.of(request)
    try:
        with here.database.begin() as session:
            factor.begin(session, factor.key(here.settings), _user(session, request))
    except NotAccepted as why:
        return _page(request, str(why))
    return RedirectResponse(PAGE, 303)


@router.post("/account/factor/confirm")
def confirm(request: Request, code: Text) -> Response:
    """Have it count, for a code; shows the recovery codes, once."""
    here = context.of(request)
    try:
        with here.database.begin() as session:
            user, key = _user(session, request), factor.key(here.settings)
            codes = factor.confirm(session, key, user, code, actor=user.name)
    except NotAccepted as why:
        return _page(request, str(why))
    return context.page(request, "recovery.html", {"codes": codes})


@router.post("/account/factor/remove")
def remove(request: Request, code: Text) -> Response:
    """Give the second factor up, for a code, where no role of the account needs one."""
    here = context.of(request)
    needed = here.settings.site.web.accounts.second_factor_for
    with here.database.begin() as session:
        user = _user(session, request)
        if not set(needed).isdisjoint(user.role.split()):
            problem = "A role of this account needs a second factor."
        elif _shown(session, request, user, code):
            factor.remove(session, user, actor=user.name)
            problem = ""
        else:
            problem = factor.WRONG
    return _page(request, problem) if problem else RedirectResponse(PAGE, 303)


def _page(request: Request, problem: str = "") -> Response:
    here = context.of(request)
    with here.database.reading() as session:
        user = _user(session, request)
        secret = factor.pending(session, factor.key(here.settings), user.id)
        values: dict[str, Any] = {
            "problem": problem,
            "elsewhere": accounts.vouched_elsewhere(session, user),
            "has_factor": factor.has(session, user.id),
            "secret": secret,
            "drawing": "",
        }
        if secret is not None:
            drawn = factor.drawing(factor.uri(user.name, secret))
            values["drawing"] = Markup(drawn)  # noqa: S704 - segno draws squares, it quotes nothing
    return context.page(request, "account.html", values, status=400 if problem else 200)


def _user(session: Session, request: Request) -> UserRow:
    user = session.get(UserRow, context.viewer(request).user_id)
    if user is None:
        raise HTTPException(404, "There is no such account.")
    return user


def _shown(session: Session, request: Request, user: UserRow, code: str) -> bool:
    """Tell whether this is a code of the account; wrong ones count as at the sign-in."""
    key, address = factor.key(context.of(request).settings), context.address(request)
    right = factor.accepts(session, key, user, code)
    return sessions.admit(session, user, right=right, address=address)


def _proved(session: Session, request: Request, present: str) -> UserRow | None:
    """Give the account, locked, if this is its password; wrong ones count as at the sign-in."""
    user = sessions.locked(session, _user(session, request).id)
    right, _ = passwords.verify(present, user.password_hash if user else None)
    if user is None or not sessions.admit(
        session, user, right=right, address=context.address(request)
    ):
        return None
    return user
