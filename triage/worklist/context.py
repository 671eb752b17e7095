"""What the pages share: settings, database, templates, and the names of the cookies."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any, Final, cast

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.accounts import BreakGlassRow
from db.audit import SERIOUS, SUCCESS, Entry, Event, record, record_alone
from db.engine import Database
from db.listing import Clock
from db.tables import StudyRow
from triage.settings import Settings
from triage.worklist import access, assets, theme, words
from triage.worklist.drawing import Drawn
from triage.worklist.sessions import Viewer

FOLDER: Final = files("triage.worklist")
DISCLAIMER: Final = (
    "For prioritization only. Not for diagnosis. Review full images per standard of care."
)
NOTES: Final = ThreadPoolExecutor(8, thread_name_prefix="note")
MAX_DIGITS: Final = 10
"""Of a row's number, and of PostgreSQL's integer."""
RESEARCH: Final = "RESEARCH - NOT FOR CLINICAL USE"


@dataclass(frozen=True, slots=True)
class Context:
    """One application's parts."""

    settings: Settings
    database: Database
    templates: Environment

    @property
    def session_cookie(self) -> str:
        """Give the name of the session's cookie; ``__Host-`` binds it to host and TLS."""
        return f"{self._prefix}triage"

    @property
    def form_cookie(self) -> str:
        """Give the name of the cookie that proves a sign-in form was ours."""
        return f"{self._prefix}triage-form"

    @property
    def half_cookie(self) -> str:
        """Give the name of the cookie of a sign-in between its two steps."""
        return f"{self._prefix}triage-half"

    @property
    def _prefix(self) -> str:
        return "__Host-" if self.settings.site.web.secure_cookies else ""

    def clock(self, as_of: datetime) -> Clock:
        """Give the limits at a moment."""
        return Clock(
            as_of,
            promote_after=timedelta(seconds=self.settings.policy.promote_after_s),
            overdue_after=timedelta(seconds=self.settings.site.work.overdue_after_s),
        )


def build(settings: Settings, database: Database) -> Context:
    """Make the context with its template engine: everything escaped, nothing undefined."""
    templates = Environment(
        loader=FileSystemLoader(str(FOLDER / "templates")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=words.tamed,
        auto_reload=False,  # no file of an installed program changes under it
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals.update(
        static=assets.PLACE,
        disclaimer=DISCLAIMER,
        drawn=Drawn(templates),
        may=access.may,
        theme=theme.THEMES[0],
        nearly=settings.site.reading.nearly,
        unseen_emergencies=0,
        pacs=bool(settings.site.reading.pacs_viewer),
        research=RESEARCH if settings.site.intended_use.mode == "research" else "",
    )
    templates.filters.update(words.FILTERS)
    return Context(settings, database, templates)


def of(request: Request) -> Context:
    """Give the application's context."""
    return cast("Context", request.app.state.context)


def address(request: Request) -> str:
    """Give where the request comes from."""
    return request.client.host if request.client else ""


def viewer(request: Request) -> Viewer:
    """Give who is signed in; only routes behind the guard may ask."""
    return cast("Viewer", request.state.viewer)


def page(
    request: Request,
    template: str,
    values: Mapping[str, Any],
    *,
    status: int = 200,
    noted: Future[None] | None = None,
) -> HTMLResponse:
    """Render a page for whoever is signed in, or for nobody.

    Raises:
        DBAPIError: the row that ``noted`` stands for was not kept; nothing is shown then.
    """
    who = getattr(request.state, "viewer", None)
    shown = {
        "viewer": who,
        "theme": theme.of(request),
        "emergency_at": getattr(request.state, "emergency_at", ""),
        "unseen_emergencies": _unseen_emergencies(request, who),
        **values,
    }
    text = of(request).templates.get_template(template).render(shown)
    if noted is not None:
        noted.result()
    return HTMLResponse(text, status)


def is_number(text: str) -> bool:
    """Tell whether a part of a path may be the number of a row."""
    return text.isascii() and text.isdecimal() and len(text) < MAX_DIGITS


def note(
    request: Request, entry: Entry, effect: Callable[[Session], None] | None = None
) -> Future[None]:
    """Write an audit row and what a look changes in one transaction, while the page is made.

    Whoever makes the page gives this to ``page``, which lets nothing out before the row is kept:
    the disk is waited for beside the rendering and not behind it.
    """
    return NOTES.submit(_write, of(request).database, entry, effect)


def audit_access(session: Session, request: Request, kind: str, study_uid: str) -> None:
    """Note that a person saw a study, in the transaction that reads it (DCM 110103)."""
    record(session, access_entry(request, kind, study_uid))


def access_entry(request: Request, kind: str, study_uid: str) -> Entry:
    """Give the row that a person saw a study (DCM 110103)."""
    who = viewer(request)
    return Entry(
        event=Event.INSTANCES_ACCESSED, kind=kind, action="R", outcome=SUCCESS, actor=who.name,
        actor_role=who.role, network_address=address(request), object_type="study",
        object_id=study_uid,
        detail={"mode": of(request).settings.site.intended_use.mode}
        | ({"emergency": who.emergency} if who.emergency else {}),
    )  # fmt: skip


def audit_refusal(session: Session, request: Request) -> None:
    """Note that somebody asked for what their role may not do (DCM 110113), and of which study."""
    who = viewer(request)
    study_uid = _study_uid(session, request.path_params.get("study_id"))
    entry = Entry(
        event=Event.SECURITY_ALERT, kind="access.refused", outcome=SERIOUS, actor=who.name,
        actor_role=who.role, network_address=address(request),
        object_type="study" if study_uid else "worklist", object_id=study_uid,
        detail={"method": request.method, "route": request.scope["route"].path},
    )  # fmt: skip
    record(session, entry)


def audit_query(session: Session, request: Request, kind: str, detail: Mapping[str, Any]) -> None:
    """Note that a person asked for a list, in the transaction that reads it (DCM 110112)."""
    record(session, query_entry(request, kind, detail))


def query_entry(request: Request, kind: str, detail: Mapping[str, Any]) -> Entry:
    """Give the row that a person asked for a list (DCM 110112); never what they typed."""
    who = viewer(request)
    return Entry(
        event=Event.QUERY, kind=kind, outcome=SUCCESS, actor=who.name, actor_role=who.role,
        network_address=address(request), object_type="worklist", detail=detail,
    )  # fmt: skip


def _write(database: Database, entry: Entry, effect: Callable[[Session], None] | None) -> None:
    if effect is None:
        record_alone(database, entry)
        return
    with database.begin() as session:
        effect(session)
        record(session, entry)


def _unseen_emergencies(request: Request, who: Viewer | None) -> int:
    """Give, to who watches, how many openings in an emergency wait for a look; not their own."""
    if who is None or access.WATCHERS.isdisjoint(who.roles):
        return 0
    query = select(func.count()).select_from(BreakGlassRow)
    with of(request).database.reading() as session:
        waits = (BreakGlassRow.reviewed_at.is_(None), BreakGlassRow.user_id != who.user_id)
        return session.scalar(query.where(*waits)) or 0


def _study_uid(session: Session, number: object) -> str:
    """Give the UID of the study that a path names; nothing where it names none of ours."""
    if not isinstance(number, str) or not is_number(number):
        return ""
    found = session.scalar(select(StudyRow.study_instance_uid).where(StudyRow.id == int(number)))
    return found or ""
