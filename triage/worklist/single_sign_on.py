"""Sign in with the hospital's account: to the issuer and back (OpenID Connect)."""

import secrets
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response

from db.accounts import HalfwayRow
from triage import log
from triage.errors import TryAgain
from triage.worklist import context, foreign, sessions, signin
from triage.worklist.auth import NotAccepted
from triage.worklist.issuer import Answer, Issuer, NotVouched

router = APIRouter()
LOST: Final = "The sign-in took too long, or began elsewhere. Please begin anew."
AWAY: Final = "The hospital's sign-in does not answer. Try again, or use an account of this system."
NOT_VOUCHED: Final = "The hospital's sign-in did not confirm who you are. Please begin anew."
Word = Annotated[str, Query(max_length=4096)]


@router.get("/login/oidc")
def begin(request: Request, next: str = signin.HOME) -> Response:
    """Lead to the issuer, and remember by a cookie what its answer must fit."""
    here = context.of(request)
    try:
        question = _issuer(request).question()
    except (TryAgain, NotVouched) as why:
        return _failed(request, why)
    row = HalfwayRow(
        state=question.state, nonce=question.nonce, verifier=question.verifier,
        target=signin.inner(next),
    )  # fmt: skip
    with here.database.begin() as session:
        token = sessions.halfway(session, row)
    answer = RedirectResponse(question.url, 303)
    signin.set_cookie(request, answer, here.half_cookie, token)
    return answer


@router.get("/login/oidc/callback")
def come_back(
    request: Request, code: Word = "", state: Word = "", iss: Word = "", error: Word = ""
) -> Response:
    """Open a session for whom the issuer vouches; each question has one answer."""
    here, issuer = context.of(request), _issuer(request)
    with here.database.begin() as session:
        row = sessions.waiting(session, request.cookies.get(here.half_cookie, ""))
        if (
            row is None
            or not row.state
            or not secrets.compare_digest(row.state.encode(), state.encode())
        ):
            return signin.refused(request, LOST)
        nonce, verifier, target = row.nonce, row.verifier, row.target
        session.delete(row)
    if error or not code or (iss and iss != issuer.name):
        return _failed(request, NotVouched(NOT_VOUCHED))
    try:
        answer = issuer.answer(code, nonce=nonce, verifier=verifier)
    except (TryAgain, NotVouched) as why:
        return _failed(request, why)
    return _enter(request, answer, target)


def _enter(request: Request, answer: Answer, target: str) -> Response:
    here, address = context.of(request), context.address(request)
    try:
        with here.database.begin() as session:
            user = foreign.account(session, answer.person)
            passed = sessions.passed(
                session, here.settings.site.web, user, address, strong=answer.strong
            )
    except NotAccepted as why:
        with here.database.begin() as session:
            sessions.refused(session, foreign.known(session, answer.person), address)
        return signin.refused(request, str(why), 403)
    return signin.go_on(request, passed, target)


def _failed(request: Request, why: Exception) -> Response:
    """Say it in a sentence; the log has the reason, which names nobody."""
    log.get().warning("login.issuer", why=str(why))
    with context.of(request).database.begin() as session:
        sessions.refused(session, None, context.address(request))
    if isinstance(why, TryAgain):
        return signin.refused(request, AWAY, 503)
    return signin.refused(request, NOT_VOUCHED)


def _issuer(request: Request) -> Issuer:
    oidc = context.of(request).settings.site.web.accounts.oidc
    if oidc is None:
        raise HTTPException(404, "There is no such page.")
    return Issuer(oidc)
