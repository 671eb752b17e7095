"""QIDO-RS and WADO-RS as routes: who asks, what is named, what is noted, what is answered.

Every answer about a study is noted as an access to it in the transaction that looks it up. A
viewer that leafs through frames is noted once a minute for each study.
"""

import time
from collections.abc import Callable
from threading import Lock
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.audit import SERIOUS, SUCCESS, Entry, Event, record
from db.engine import Database
from triage import log
from triage.dicomweb import catalog, wado, wording
from triage.dicomweb.catalog import Kept, Place
from triage.dicomweb.pixels import Darkroom, NotThere
from triage.dicomweb.qido import Search, TooBroad
from triage.dicomweb.query import BadQuery, Query
from triage.dicomweb.replies import base_of, plain
from triage.dicomweb.visitors import Away, Denied, Doorkeeper, Visitor
from triage.dicomweb.wado import Problem, Wish
from triage.errors import CodedError, NotEligible, TryAgain
from triage.receive.scan import is_uid
from triage.settings import Settings

STUDY: Final = "/studies/{study}"
SERIES: Final = f"{STUDY}/series/{{series}}"
INSTANCE: Final = f"{SERIES}/instances/{{instance}}"
RETRY_AFTER_S: Final = 5
NOTED_S: Final = 60.0
NOTED: Final = 10_000
LEAFING: Final = frozenset(("frames", "rendered", "bulkdata"))
NO_FUZZY: Final = (
    "The fuzzymatching parameter is not supported. Only literal matching has been performed."
)
MORE: Final = "There are additional results that can be requested."
HELD: Final = "The study is held: its identity or content is in doubt."
PRIOR: Final = "The study is a prior, fetched for comparison."
STATUSES: Final[dict[type[Exception], int]] = {
    BadQuery: 400,
    NotThere: 404,
    FileNotFoundError: 410,
    TooBroad: 413,
}
TROUBLES: Final[tuple[type[Exception], ...]] = (
    Denied,
    Problem,
    Away,
    TryAgain,
    SQLAlchemyError,
    CodedError,
    *STATUSES,
)
Deed = Callable[[Request, Visitor], Response]


class Reading:
    """The read-only part of the service over one database and one spool."""

    def __init__(self, settings: Settings, database: Database, doorkeeper: Doorkeeper) -> None:
        self._settings = settings.site.dicomweb
        self._spool = settings.spool
        self._database = database
        self._doorkeeper = doorkeeper
        self._darkroom = Darkroom(settings.site.decode)
        self._noted: dict[tuple[str, str, str], float] = {}
        self._lock = Lock()

    def routes(self) -> list[Route]:
        """Give the paths of PS3.18 Tables 10.4.1-1 and 10.6.1-1, below the service's root."""
        searches = [
            Route(path, self._serve(self._searching(level)), methods=["GET"])
            for path, level in (
                ("/studies", "studies"), ("/series", "series"), ("/instances", "instances"),
                (f"{STUDY}/series", "series"), (f"{STUDY}/instances", "instances"),
                (f"{SERIES}/instances", "instances"),
            )
        ]  # fmt: skip
        retrievals: list[Route] = []
        for path in (STUDY, SERIES, INSTANCE):
            retrievals += [
                self._retrieval(path, "instances"),
                self._retrieval(f"{path}/metadata", "metadata"),
            ]
        return [
            *searches,
            *retrievals,
            self._retrieval(f"{INSTANCE}/bulkdata/{{path:path}}", "bulkdata"),
            self._retrieval(f"{INSTANCE}/frames/{{frames}}", "frames"),
            self._retrieval(f"{INSTANCE}/frames/{{frames}}/rendered", "rendered"),
            self._retrieval(f"{INSTANCE}/rendered", "rendered"),
        ]

    def close(self) -> None:
        """End the decoding child."""
        self._darkroom.close()

    def _retrieval(self, path: str, what: str) -> Route:
        return Route(path, self._serve(self._retrieving(what)), methods=["GET"])

    def _serve(self, deed: Deed) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(self._do, deed, request)

        return endpoint

    def _do(self, deed: Deed, request: Request) -> Response:
        try:
            visitor = self._doorkeeper.admit(request, "reader")
            return deed(request, visitor)
        except TROUBLES as why:
            if isinstance(why, Denied):
                self._note_denial(request, why)
            return _refusal(why)

    def _searching(self, level: str) -> Deed:
        def search(request: Request, visitor: Visitor) -> Response:
            if not wording.wanted(request.headers.get("accept", ""), (wording.JSON,)):
                raise Problem(406, f"The answer is {wording.JSON}.")
            place, most = _place(request), self._settings.max_results
            query = Query.read(request.query_params.multi_items(), most)
            with self._database.begin() as session:
                finder = Search(
                    session, self._spool, base_of(request), query, self._settings.max_looked_at
                )
                found, has_more = finder.run(level, place)
                detail = {"level": level, "keys": len(query.keys), "count": len(found)}
                self._record(session, Event.QUERY, visitor, "dicomweb.query", place.study, detail)
            told = [NO_FUZZY] * query.wants_fuzzy + [MORE] * has_more
            if not found:
                return _warned(Response(status_code=204), request, told)
            answer = Response(wording.to_json(found), media_type=wording.JSON)
            return _warned(answer, request, told)

        return search

    def _retrieving(self, what: str) -> Deed:
        def retrieve(request: Request, visitor: Visitor) -> Response:
            place = _place(request)
            kept = self._looked_up(place, visitor, what)
            answer = self._answer(what, kept, request)
            told = [HELD] * any(one.is_held for one in kept)
            told += [PRIOR] * any(one.is_prior for one in kept)
            return _warned(answer, request, told)

        return retrieve

    def _looked_up(self, place: Place, visitor: Visitor, what: str) -> list[Kept]:
        """Find what a path names, and note the access in the same transaction.

        Raises:
            Problem: 404.
        """
        key = (visitor.name, place.study, what)
        if self._is_noted(key):
            with self._database.reading() as session:
                kept = catalog.instances(session, self._spool, place)
        else:
            with self._database.begin() as session:
                kept = catalog.instances(session, self._spool, place)
                detail = {"what": what, "count": len(kept), "outcome": "found" if kept else "none"}
                self._record(
                    session, Event.INSTANCES_ACCESSED, visitor, "dicomweb.retrieve", place.study,
                    detail,
                )  # fmt: skip
            self._mark(key, what)
        if not kept:
            raise Problem(404, "There is no such study, series or instance.")
        return kept

    def _answer(self, what: str, kept: list[Kept], request: Request) -> Response:
        wish = Wish(
            request.headers.get("accept", ""),
            base_of(request),
            request.query_params.multi_items(),
        )
        if what == "instances":
            return wado.instances(kept, wish)
        if what == "metadata":
            return wado.metadata(kept, wish)
        one = wado.present(kept)[0]
        wado.checked(one)
        if what == "bulkdata":
            return wado.bulk_data(one, request.path_params["path"], wish, self._darkroom)
        numbers = wado.numbers_of(request.path_params.get("frames", "1"))
        if what == "frames":
            return wado.frames(one, numbers, wish, self._darkroom)
        return wado.rendered(one, numbers, wish, self._darkroom)

    def _is_noted(self, key: tuple[str, str, str]) -> bool:
        with self._lock:
            return time.monotonic() - self._noted.get(key, -NOTED_S) < NOTED_S

    def _mark(self, key: tuple[str, str, str], what: str) -> None:
        if what not in LEAFING:
            return
        with self._lock:
            if len(self._noted) >= NOTED:
                self._noted.clear()
            self._noted[key] = time.monotonic()

    def _note_denial(self, request: Request, why: Denied) -> None:
        """Note who lacks a role; who is nobody is many, and is only counted in the log."""
        log.get().warning("dicomweb.denied", status=why.status)
        if why.who is None:
            return
        uid = str(request.path_params.get("study", ""))
        known = is_uid(uid.encode("ascii", "replace"))
        entry = Entry(
            event=Event.SECURITY_ALERT, kind="dicomweb.denied", outcome=SERIOUS,
            actor=why.who.name, actor_role=why.who.role, network_address=why.who.address,
            object_type="study" if known else "dicomweb", object_id=uid if known else "",
        )  # fmt: skip
        with self._database.begin() as session:
            record(session, entry)

    def _record(
        self, session: Session, event: Event, visitor: Visitor, kind: str, study: str,
        detail: dict[str, Any],
    ) -> None:  # fmt: skip
        detail = detail | ({"emergency": visitor.emergency} if visitor.emergency else {})
        entry = Entry(
            event=event, kind=kind, action="R" if event == Event.INSTANCES_ACCESSED else "E",
            outcome=SUCCESS, actor=visitor.name, actor_role=visitor.role,
            network_address=visitor.address, object_type="study", object_id=study, detail=detail,
        )  # fmt: skip
        record(session, entry)


def _refusal(why: Exception) -> Response:
    """Give the answer to what went wrong. No message holds a value from a data set."""
    if isinstance(why, Away | TryAgain | SQLAlchemyError):
        log.get().warning("dicomweb.busy", why=type(why).__name__)
        return plain(503, "This is away for now.", {"Retry-After": str(RETRY_AFTER_S)})
    if isinstance(why, CodedError):
        status = 406 if isinstance(why, NotEligible) else 500
        return plain(status, f"{why.reason.sentence} ({why.reason.code}).")
    if isinstance(why, Denied | Problem):
        return plain(why.status, str(why))
    return plain(STATUSES[type(why)], "It is not kept here any more." if isinstance(why, OSError)
                 else f"{why}")  # fmt: skip


def _place(request: Request) -> Place:
    """Read the UIDs of the path.

    Raises:
        Problem: 400, one is none.
    """
    found = [str(request.path_params.get(name, "")) for name in ("study", "series", "instance")]
    if not all(not one or is_uid(one.encode("ascii", "replace")) for one in found):
        raise Problem(400, "A UID in the path is none.")
    return Place(*found)


def _warned(answer: Response, request: Request, told: list[str]) -> Response:
    if told:
        answer.headers["Warning"] = ", ".join(f'299 {base_of(request)} "{one}"' for one in told)
    return answer
