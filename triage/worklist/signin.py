"""Sign in by password and code, sign out, and the first administrator."""

import re
import secrets
import time
from collections import OrderedDict, deque
from threading import Lock
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from triage import log
from triage.errors import TryAgain
from triage.worklist import auth, context, directory, factor, sessions
from triage.worklist.auth import NotAccepted

router = APIRouter()
HOME: Final = "/studies"
MAX_CODE: Final = 64
INNER: Final = re.compile(r"/studies(/\d{1,18})?")
WRONG: Final = (
    "Name or password is wrong, or the account is locked for a while after too many attempts."
)
WRONG_CODE: Final = (
    "The code is wrong or was used already, or the account is locked for a while. "
    "Wait for the next code, or sign in anew."
)
ENROL: Final = (
    "This account needs a second factor. Ask whoever runs this installation for: triage user factor"
)
STALE: Final = "The form was out of date. Please sign in again."
AWAY: Final = "The hospital's directory does not answer. Try again in a moment."
FLOODED: Final = "Too many attempts. Wait five minutes."
Text = Annotated[str, Form()]


class Stopped(Exception):
    """The way in ends here."""

    def __init__(self, said: str, status: int) -> None:
        super().__init__(said)
        self.said = said
        self.status = status


class Throttle:
    """Counts refusals per address: a flood is answered before a password is checked."""

    limit: Final = 15
    window_s: Final = 300.0
    addresses: Final = 4096

    def __init__(self) -> None:
        self._refusals: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = Lock()

    def refuses(self, address: str) -> bool:
        """Tell whether this address was refused too often lately."""
        with self._lock:
            times = self._refusals.get(address, deque())
            while times and times[0] < time.monotonic() - self.window_s:
                times.popleft()
            return len(times) >= self.limit

    def note(self, address: str) -> None:
        """Count a refusal."""
        with self._lock:
            self._refusals.setdefault(address, deque(maxlen=self.limit)).append(time.monotonic())
            self._refusals.move_to_end(address)
            if len(self._refusals) > self.addresses:
                self._refusals.popitem(last=False)


@router.get("/login")
def login_page(request: Request, next: str = HOME) -> Response:
    """Show the sign-in form."""
    return _form(request, target=next)


@router.post("/login")
def login(
    request: Request,
    name: Text = "",
    password: Text = "",
    csrf_token: Text = "",
    target: Text = HOME,
) -> Response:
    """Open a session, under a new token."""
    try:
        _check(request, csrf_token)
        passed = _first_step(request, name, password)
    except Stopped as why:
        return _form(request, target, why.said, why.status)
    return go_on(request, passed, target)


def _check(request: Request, csrf_token: str) -> None:
    """Stop a form that is not ours, and a flood.

    Raises:
        Stopped: with what to say.
    """
    if not _is_ours(request, csrf_token):
        raise Stopped(STALE, 403)
    throttle: Throttle = request.app.state.throttle
    if throttle.refuses(context.address(request)):
        raise Stopped(FLOODED, 429)


def _first_step(request: Request, name: str, password: str) -> sessions.Passed:
    """Check a password where it is kept: here, or in the directory.

    Raises:
        Stopped: with what to say.
    """
    here, address = context.of(request), context.address(request)
    web = here.settings.site.web
    try:
        if web.accounts.ldap is None or directory.has_password_here(here.database, name):
            passed = sessions.sign_in(here.database, web, name, password, address)
        else:
            passed = directory.sign_in(here.database, web, name, password, address)
    except TryAgain as why:
        log.get().warning("login.directory", why=str(why))
        raise Stopped(AWAY, 503) from None
    except NotAccepted as why:
        raise Stopped(str(why), 403) from None
    if passed is None:
        throttle: Throttle = request.app.state.throttle
        throttle.note(address)
        raise Stopped(WRONG, 401)
    return passed


@router.post("/login/code")
def code(request: Request, code: Text = "", csrf_token: Text = "", target: Text = HOME) -> Response:
    """Open a session for whoever showed a password, and now a code."""
    try:
        _check(request, csrf_token)
    except Stopped as why:
        return _form(request, target, why.said, why.status)
    here, address = context.of(request), context.address(request)
    half = request.cookies.get(here.half_cookie, "")
    key = factor.key(here.settings)
    token = sessions.second_step(
        here.database, here.settings.site.web, key, half, code[:MAX_CODE], address
    )
    if token is None:
        request.app.state.throttle.note(address)
        return _form(request, target, WRONG_CODE, 401, template="code.html")
    return enter(request, token, target)


def go_on(request: Request, passed: sessions.Passed, target: str) -> Response:
    """Answer a first step that was right: with a session, or with the next step."""
    if passed.needs == "enrolment":
        return _form(request, target, ENROL, 401)
    if passed.needs == "code":
        answer = _form(request, target, status=401, template="code.html")
        set_cookie(request, answer, context.of(request).half_cookie, passed.token)
        return answer
    return enter(request, passed.token, target)


def enter(request: Request, token: str, target: str) -> Response:
    """Lead into the pages with the session's cookie."""
    here = context.of(request)
    answer = RedirectResponse(inner(target), 303)
    set_cookie(request, answer, here.session_cookie, token)
    for name in (here.form_cookie, here.half_cookie):
        answer.delete_cookie(name, path="/", secure=here.settings.site.web.secure_cookies)
    return answer


@router.post("/logout")
def logout(request: Request) -> Response:
    """End the session."""
    here = context.of(request)
    with here.database.begin() as session:
        sessions.sign_out(session, context.viewer(request), context.address(request))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(here.session_cookie, path="/")
    return answer


@router.post("/session/active")
def active() -> Response:
    """Note that a person is at the page; the guard has renewed the session already."""
    return Response(status_code=204)


@router.get("/setup")
def setup_page(request: Request, token: str = "") -> Response:
    """Show the form for the first account to whoever holds the console's token."""
    here = context.of(request)
    with here.database.reading() as session:
        opens = auth.opens_setup(here.settings, session, token)
    return context.page(
        request,
        "setup.html",
        {"token": token if opens else "", "problem": "", "name": ""},
        status=200 if opens else 403,
    )


@router.post("/setup")
def setup(
    request: Request, token: Text = "", name: Text = "", password: Text = "", again: Text = "",
    reads: Text = "",
) -> Response:  # fmt: skip
    """Make the first administrator and use the token up."""
    here = context.of(request)
    problem = "" if password == again else "The two passwords differ."
    if not problem:
        try:
            with here.database.begin() as session:
                auth.set_up(here.settings, session, token, name, password, reads=reads == "yes")
        except NotAccepted as why:
            problem = str(why)
    if not problem:
        return RedirectResponse("/login", 303)
    values = {"token": token, "problem": problem, "name": name}
    return context.page(request, "setup.html", values, status=400)


def set_cookie(request: Request, answer: Response, name: str, value: str) -> None:
    """Set a cookie that no script reads and no other site sends."""
    secure = context.of(request).settings.site.web.secure_cookies
    answer.set_cookie(name, value, path="/", secure=secure, httponly=True, samesite="lax")


def refused(request: Request, problem: str, status: int = 401) -> Response:
    """Show the sign-in form again, and why."""
    return _form(request, HOME, problem, status)


def _is_ours(request: Request, csrf_token: str) -> bool:
    expected = request.cookies.get(context.of(request).form_cookie, "")
    return bool(expected) and secrets.compare_digest(expected.encode(), csrf_token.encode())


def _form(
    request: Request, target: str, problem: str = "", status: int = 200, *,
    template: str = "login.html",
) -> Response:  # fmt: skip
    """Show a form of the way in, with a token that its cookie must match."""
    token = secrets.token_urlsafe()
    oidc = context.of(request).settings.site.web.accounts.oidc
    values = {
        "csrf_token": token, "problem": problem, "target": inner(target),
        "issuer": oidc.label if oidc else "",
    }  # fmt: skip
    answer = context.page(request, template, values, status=status)
    set_cookie(request, answer, context.of(request).form_cookie, token)
    return answer


def inner(target: str) -> str:
    """Give a page of ours to lead to; the list, where it is none."""
    return target if INNER.fullmatch(target) else HOME
