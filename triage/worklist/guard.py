"""Deny by default: a route serves the roles that ``access`` names, every change needs a token."""

import secrets
from dataclasses import replace
from datetime import timedelta
from typing import Final

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, Response

from triage.ups import tokens
from triage.worklist import access, context, emergencies, sessions
from triage.worklist.sessions import Viewer

PASSIVE: Final = frozenset({"/studies/rows", "/studies/stream"})
"""Asked for by a timer, not by a person: they do not keep a session alive."""
SAFE: Final = frozenset({"GET", "HEAD"})
TOUCHES: Final = 20
"""How often a session is renewed within its idle time, at most: each costs a write."""
CSRF_FIELD: Final = "csrf_token"
CSRF_HEADER: Final = "X-CSRF-Token"


class SignInFirst(Exception):
    """Nobody is signed in on this request."""


async def admit(request: Request) -> None:
    """Let a request through to its route, or refuse it.

    Raises:
        SignInFirst: the route is not public and the session is missing or ended.
        HTTPException: 403, the route is not for this role, which is audited; or the request
            changes something and did not come from our own page.
    """
    if request.headers.get("sec-fetch-site") == "cross-site" and request.method not in SAFE:
        raise HTTPException(403, "This request came from another site.")
    roles = access.allowed(request.method, request.scope["route"].path)
    if access.ANONYMOUS in roles:
        return
    who = await run_in_threadpool(_find, request)
    if who is None:
        raise SignInFirst
    who = replace(who, address=context.address(request))
    if who.scopes is None and who.roles.isdisjoint(access.CLINICIANS):
        who = replace(who, emergency=await run_in_threadpool(_emergency, request, who))
    request.state.viewer = who
    if not _serves(request, roles, who):
        await run_in_threadpool(_note_refusal, request)
        raise HTTPException(403, access.REFUSED)
    if request.method not in SAFE and who.scopes is None and not await _carries_token(request, who):
        raise HTTPException(403, "The form is out of date. Go back, reload and send it again.")


def refuse(request: Request, _why: Exception) -> Response:
    """Send a person to the sign-in page and tell a program 401."""
    path = request.url.path
    program = path.startswith("/api/") or path.endswith(".png") or "hx-request" in request.headers
    if program or request.method not in SAFE:
        return JSONResponse({"detail": "Sign in first."}, 401)
    target = f"/login?next={path}" if path.startswith("/studies") else "/login"
    return RedirectResponse(target, 303)


def _serves(request: Request, roles: frozenset[str], who: Viewer) -> bool:
    """Tell whether a route is for one of these roles, and for a program whether in its scope."""
    if who.scopes is not None:
        scope = access.scope(request.method, request.scope["route"].path)
        return not roles.isdisjoint(who.roles) and scope in who.scopes
    return who.emergency > 0 or not roles.isdisjoint(who.roles)


def _program(request: Request, header: str) -> Viewer | None:
    """Give the program that a token names. Its cookies, if any, count for nothing."""
    database, address = context.of(request).database, context.address(request)
    asker = tokens.bearer(database, header, address)
    if asker is None:
        return None
    return Viewer(0, asker.name, access.Role.SERVICE, "", "", timedelta(0), scopes=asker.roles)


def _find(request: Request) -> Viewer | None:
    here = context.of(request)
    if header := request.headers.get("authorization", ""):
        return _program(request, header)
    token = request.cookies.get(here.session_cookie)
    if not token:
        return None
    web = here.settings.site.web
    with here.database.alone() as connection:
        who = sessions.find(connection, web, token)
    passive = request.scope["route"].path in PASSIVE
    if who and not passive and who.idle.total_seconds() > web.session_idle_s / TOUCHES:
        with here.database.begin() as session:
            sessions.touch(session, who)
    return who


def _emergency(request: Request, who: Viewer) -> int:
    """Give by which opening, if any, a study is seen that this role does not open."""
    number = str(request.path_params.get("study_id", ""))
    template = request.scope["route"].path
    if not access.opens_in_emergency(request.method, template) or not context.is_number(number):
        return 0
    request.state.emergency_at = f"/studies/{number}/emergency"
    with context.of(request).database.reading() as session:
        return emergencies.standing(session, who, int(number))


def _note_refusal(request: Request) -> None:
    with context.of(request).database.begin() as session:
        context.audit_refusal(session, request)


async def _carries_token(request: Request, who: Viewer) -> bool:
    given = request.headers.get(CSRF_HEADER) or (await request.form()).get(CSRF_FIELD)
    return isinstance(given, str) and secrets.compare_digest(
        given.encode(), who.csrf_token.encode()
    )
