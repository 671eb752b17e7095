"""The lists: one page of one, the same again for a page that is open, and search."""

import time
from threading import Lock
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from db import counting, saved_lists
from db.audit import Entry
from db.engine import now
from db.listing import Clock, Listing, Order, Page
from db.pulse import stamp
from db.search import search as find
from triage.settings import Settings
from triage.spool import has_room
from triage.worklist import claiming, context, doubts, filters
from triage.worklist.asked import ANY, Asked, asked, read, slug
from triage.worklist.lines import lines
from triage.worklist.noticed import Noticed

router = APIRouter()
PAGE_SIZE: Final = 50
POLL_S: Final = 5
MAX_SEARCH: Final = 64
FRESH_S: Final = 5.0
"""Counts are taken again after this long even where nothing came: some depend on the time."""
STAYS_S: Final = 900.0
"""A list that stays open is noted again after this long: studies came into it meanwhile."""
Wanted = Annotated[Asked, Depends(asked)]
Found = tuple[Page, Clock]


class Remembered:
    """What every list page shows and no request counts anew, and who looked at which list."""

    def __init__(self) -> None:
        self.noticed = Noticed(STAYS_S)
        self._lock = Lock()
        self._counts: tuple[object, float, dict[Listing, int]] = (None, 0.0, {})
        self._mine: dict[int, int] = {}

    def counts(self, session: Session, clock: Clock, user_id: int) -> dict[Listing, int]:
        """Count the lists: again once something changed, each list no further than its bound."""
        pulse, at = stamp(session), time.monotonic()
        with self._lock:
            known, taken, found = self._counts
        if known != pulse or at - taken > FRESH_S:
            found = counting.counts(session, clock)
            with self._lock:
                self._counts, self._mine = (pulse, at, found), {}
        mine = self._mine
        if user_id not in mine:
            mine[user_id] = counting.count(session, Listing.MINE, clock, user_id)
        return found | {Listing.MINE: mine[user_id]}


@router.get("/studies")
def studies(request: Request, wanted: Wanted) -> Response:
    """Show a list, audited as a query."""
    with context.of(request).database.reading() as session:
        found = _found(session, request, wanted)
        noted = context.note(request, _query(request, wanted, found))
        values = _list(session, request, wanted, found) | _around(session, request)
    answer = context.page(request, "studies.html", values, noted=noted)
    _noticed(request).keep(context.viewer(request).name, wanted.query)
    return answer


@router.get("/studies/rows")
def rows(request: Request, wanted: Wanted) -> Response:
    """Give the same list again, for the page that is open already; audited as one that stays."""
    name, noticed = context.viewer(request).name, _noticed(request)
    noted = None
    with context.of(request).database.reading() as session:
        found = _found(session, request, wanted)
        if not noticed.lately(name, wanted.query):
            noted = context.note(request, _query(request, wanted, found))
        values = _list(session, request, wanted, found)
    answer = context.page(request, "_list.html", values, noted=noted)
    if noted:
        noticed.keep(name, wanted.query)
    return answer


@router.post("/studies/search")
def search(
    request: Request,
    text: Annotated[str, Form()] = "",
    before: Annotated[int, Form(ge=1, le=2**31 - 1)] = 2**31 - 1,
) -> Response:
    """Find studies by any part of what names them. Posted, so that no name is in a URL."""
    here, who = context.of(request), context.viewer(request)
    text = "".join(one for one in text if one.isprintable()).strip()[:MAX_SEARCH]
    with here.database.reading() as session:
        found = find(session, text, limit=PAGE_SIZE + 1, before=before)
        count = {"count": len(found[:PAGE_SIZE])}
        noted = context.note(request, context.query_entry(request, "worklist.search", count))
        clock = here.clock(now(session))
        shown = lines(session, found[:PAGE_SIZE], clock, here.settings.site.reading, who)
    values = {
        "text": text,
        "rows": shown,
        "older": found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None,
        "clock": clock,
        "wanted": Asked(),
        "claim_reasons": claiming.REASONS,
    }
    return context.page(request, "search.html", values, noted=noted)


def _noticed(request: Request) -> Noticed:
    noticed: Noticed = request.app.state.remembered.noticed
    return noticed


def _query(request: Request, wanted: Asked, found: Found) -> Entry:
    count = len(found[0].studies)
    detail: dict[str, Any] = {"list": wanted.listing, "sort": wanted.order, "count": count}
    if wanted.narrow != ANY:
        detail["filters"] = sorted(key for key, said in wanted.narrow.said().items() if said)
    return context.query_entry(request, "worklist.list", detail)


def _found(session: Session, request: Request, wanted: Asked) -> Found:
    """Give the studies: enough to note who looked at them, while the rest is read."""
    who = context.viewer(request)
    return read(session, context.of(request), wanted, limit=PAGE_SIZE, user_id=who.user_id)


def _list(session: Session, request: Request, wanted: Asked, found: Found) -> dict[str, Any]:
    here, who = context.of(request), context.viewer(request)
    page, clock = found
    remembered: Remembered = request.app.state.remembered
    counts = remembered.counts(session, clock, who.user_id)
    return {
        "rows": lines(session, page.studies, clock, here.settings.site.reading, who),
        "after": wanted.behind(page.after) if page.after else None,
        "lists": [(one, slug(one), wanted.of_list(one), counts[one]) for one in Listing],
        "orders": {str(one): wanted.sorted_by(one) for one in Order},
        "saved": saved_lists.of_user(session, who.user_id),
        "wanted": wanted,
        "clock": clock,
        "poll_s": POLL_S,
        "most": counting.MOST,
        "listener": here.settings.site.listener,
        "unbalanced": doubts.unbalanced(session),
        "is_full": _is_full(here.settings),
    }


def _is_full(settings: Settings) -> bool:
    """Tell whether the listener turns studies away; a place without a spool cannot know."""
    least_bytes = settings.site.listener.min_free_bytes
    return settings.spool.is_dir() and not has_room(settings.spool, least_bytes)


def _around(session: Session, request: Request) -> dict[str, Any]:
    """Give what stands around a list and does not change with it."""
    found = request.app.state.choices.filters(session)
    return {"filters": filters.light(found), "claim_reasons": claiming.REASONS}
