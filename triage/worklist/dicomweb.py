"""DICOMweb below the worklist: what is read there, by whom; one place for it and for work items."""

from typing import TYPE_CHECKING

from fastapi import Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.applications import Starlette

from db.tables import StudyRow
from triage.dicomweb.reading import Reading
from triage.dicomweb.visitors import Doorkeeper, SessionOf, Visitor
from triage.ups.web import Door
from triage.worklist import access, emergencies, sessions
from triage.worklist.context import Context
from triage.worklist.sessions import Viewer

if TYPE_CHECKING:
    from starlette.routing import Route, WebSocketRoute

READER = frozenset(("reader",))
"""Of who is signed in and may see images. Nothing is stored here."""
STUDY_UID = ("StudyInstanceUID", "0020000D")
"""How a search names it."""


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
            may = access.may(who.roles, "GET", "/dicomweb")
            emergency = 0 if may else _emergency(session, who, request)
        roles = READER if may or emergency else frozenset[str]()
        address = request.client.host if request.client else ""
        return Visitor(who.name, roles, address, who.role, emergency)

    return find


def _emergency(session: Session, who: Viewer, request: Request) -> int:
    """Give by which opening, if any, the one study of this request is read; 0 for none."""
    uid = _only_study(request)
    number = session.scalar(select(StudyRow.id).where(StudyRow.study_instance_uid == uid))
    return 0 if number is None else emergencies.standing(session, who, number)


def _only_study(request: Request) -> str:
    """Give the study that the path names, or the only one that a search for studies asks for."""
    uid = str(request.path_params.get("study", ""))
    if uid or not request.url.path.endswith("/dicomweb/studies"):
        return uid
    keys = request.query_params
    wanted = [value for name in STUDY_UID for value in keys.getlist(name)]
    return wanted[0] if len(wanted) == 1 else ""
