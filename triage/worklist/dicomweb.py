"""DICOMweb below the worklist: what is read there, by whom; one place for it and for work items."""

from typing import TYPE_CHECKING

from fastapi import Request
from starlette.applications import Starlette

from triage.dicomweb.reading import Reading
from triage.dicomweb.visitors import Doorkeeper, SessionOf, Visitor
from triage.ups.web import Door
from triage.worklist import access, sessions
from triage.worklist.context import Context

if TYPE_CHECKING:
    from starlette.routing import Route, WebSocketRoute

READER = frozenset(("reader",))
"""Of who is signed in and may see images. Nothing is stored here."""


def reading(here: Context) -> Reading | None:
    """Give queries and retrievals for who is signed in and for tokens; None where not wanted."""
    if not here.settings.site.dicomweb.on_worklist:
        return None
    doorkeeper = Doorkeeper(here.database, session_of=_session_of(here))
    return Reading(here.settings, here.database, doorkeeper)


def app(here: Context, read: Reading | None) -> Starlette | None:
    """Give what is mounted at /dicomweb; None where the site asks for nothing of it."""
    routes: list[Route | WebSocketRoute] = list(read.routes() if read else ())
    if here.settings.site.ups.manager.enabled:  # programs with tokens; no session opens it
        routes += Door(here.database, here.settings.site.ups.manager).routes()
    return Starlette(routes=routes) if routes else None


def _session_of(here: Context) -> SessionOf:
    web = here.settings.site.web

    def find(request: Request) -> Visitor | None:
        token = request.cookies.get(here.session_cookie)
        if not token:
            return None
        with here.database.reading() as session:
            who = sessions.find(session, web, token)
        if who is None:
            return None
        roles = READER if access.may(who.roles, "GET", "/dicomweb") else frozenset[str]()
        address = request.client.host if request.client else ""
        return Visitor(who.name, roles, address, who.role)

    return find
