"""Sign in, sign out, and the first administrator."""

import re
import secrets
import time
from collections import OrderedDict, deque
from threading import Lock
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from triage.worklist import auth, context, sessions
from triage.worklist.auth import NotAccepted

router = APIRouter()
HOME: Final = "/studies"
INNER: Final = re.compile(r"/studies(/\d{1,18})?")
WRONG: Final = (
    "Name or password is wrong, or the account is locked for a while after too many attempts."
)
Text = Annotated[str, Form()]


class Throttle:
    """Counts refusals per address: a flood is answered before a password is checked."""

    limit: Final = 30
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
    form_token: Text = "",
    target: Text = HOME,
) -> Response:
    """Open a session, under a new token."""
    here, address = context.of(request), context.address(request)
    expected = request.cookies.get(here.form_cookie, "")
    if not expected or not secrets.compare_digest(expected.encode(), form_token.encode()):
        return _form(request, target, "The form was out of date. Please sign in again.", 403)
    throttle: Throttle = request.app.state.throttle
    if throttle.refuses(address):
        return _form(request, target, "Too many attempts. Wait five minutes.", 429)
    token = sessions.sign_in(here.database, here.settings.site.web, name, password, address)
    if token is None:
        throttle.note(address)
        return _form(request, target, WRONG, 401)
    answer = RedirectResponse(_inner(target), 303)
    set_cookie(request, answer, here.session_cookie, token)
    answer.delete_cookie(here.form_cookie, path="/")
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
    request: Request, token: Text = "", name: Text = "", password: Text = "", again: Text = ""
) -> Response:
    """Make the first administrator and use the token up."""
    here = context.of(request)
    problem = "" if password == again else "The two passwords differ."
    if not problem:
        try:
            with here.database.begin() as session:
                auth.set_up(here.settings, session, token, name, password)
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


def _form(request: Request, target: str, problem: str = "", status: int = 200) -> Response:
    """Show the sign-in form with a token that its cookie must match."""
    token = secrets.token_urlsafe()
    values = {"form_token": token, "problem": problem, "target": _inner(target)}
    answer = context.page(request, "login.html", values, status=status)
    set_cookie(request, answer, context.of(request).form_cookie, token)
    return answer


def _inner(target: str) -> str:
    return target if INNER.fullmatch(target) else HOME
