"""UPS-RS (PS3.18 11): the manager's door for programs that speak HTTP, on the worklist's server.

Every request carries a bearer token. Bodies are DICOM JSON; a refusal says why in its Warning
header, in the standard's words, and as the DIMSE status in its body.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from pydicom.dataset import Dataset
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from db.engine import Database
from triage.ups import channel, content, manager, tokens, watching
from triage.ups.rows import Asker, do, is_uid
from triage.ups.words import MEANINGS, NotDone, Status
from triage.workflow import WorkManager

JSON: Final = "application/dicom+json"
TAKEN: Final = frozenset({JSON, "application/json"})
NOT_KEYS: Final = frozenset({"includefield", "fuzzymatching", "limit", "offset"})
HTTP: Final = {
    Status.UNKNOWN: 404, Status.UNKNOWN_AE: 404, Status.NOT_ALLOWED: 403,
    Status.DUPLICATE: 409, Status.FINAL: 409, Status.CLAIMED: 409, Status.NOT_CLAIMED: 409,
    Status.NOT_MET: 409, Status.COMPLETED: 409, Status.UNREACHABLE: 409,
    Status.WRONG_INSTANCE: 409, Status.NOT_BY_CHANGE: 409, Status.NOT_CANCELED: 409,
    Status.FAILED: 500,
}  # fmt: skip
"""Any other refusal is a 400."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, its body read."""

    asker: Asker
    path: dict[str, str]
    query: list[tuple[str, str]]
    body: bytes
    base: str

    @property
    def uid(self) -> str:
        """Give the work item that the path or the query names."""
        named = (
            self.path.get("uid") or self.first("workitem") or self.first("AffectedSOPInstanceUID")
        )
        return named or (
            self.query[0][0] if len(self.query) == 1 and is_uid(self.query[0][0]) else ""
        )

    def first(self, name: str) -> str:
        """Give a query parameter's first value, or an empty text."""
        return next((value for key, value in self.query if key == name), "")

    def dataset(self) -> Dataset:
        """Read the body; an empty one is an empty data set. Raises as ``content.parse``."""
        return content.parse(self.body) if self.body.strip() else Dataset()


Deed = Callable[[Session, Call], Response]


class Door:
    """The routes over one database."""

    def __init__(self, database: Database, settings: WorkManager) -> None:
        self._database = database
        self._settings = settings

    def routes(self) -> list[Route | WebSocketRoute]:
        """Give the paths of PS3.18 Table 11.3-1, below /dicomweb."""
        one, of_title = "/workitems/{uid}", "/workitems/{uid}/subscribers/{ae}"
        return [
            Route("/workitems", self._serve(_create), methods=["POST"]),
            Route("/workitems", self._serve(self._search), methods=["GET"]),
            Route(one, self._serve(_retrieve), methods=["GET"]),
            Route(one, self._serve(_update), methods=["POST"]),
            Route(f"{one}/state", self._serve(_change_state), methods=["PUT"]),
            Route(f"{one}/cancelrequest", self._serve(_request_cancel), methods=["POST"]),
            Route(of_title, self._serve(_subscribe), methods=["POST"]),
            Route(of_title, self._serve(_unsubscribe), methods=["DELETE"]),
            Route(f"{of_title}/suspend", self._serve(_suspend), methods=["POST"]),
            WebSocketRoute("/subscribers/{ae}", channel.Channel(self._database).serve),
        ]

    def _serve(self, deed: Deed) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            body = await request.body()
            return await run_in_threadpool(self._do, deed, request, body)

        endpoint.__name__ = deed.__name__
        return endpoint

    def _do(self, deed: Deed, request: Request, body: bytes) -> Response:
        address = request.client.host if request.client else ""
        asker = tokens.bearer(self._database, request.headers.get("authorization", ""), address)
        if asker is None:
            return JSONResponse(
                {"detail": "A token is needed."}, 401, {"WWW-Authenticate": "Bearer"}
            )
        if wrong := _wrong_type(request, body):
            return wrong
        base = f"{request.url.scheme}://{request.url.netloc}{request.scope.get('root_path', '')}"
        call = Call(
            asker, dict(request.path_params), list(request.query_params.multi_items()), body, base
        )
        name = deed.__name__.strip("_")
        try:
            return do(self._database, asker, (name, call.uid), lambda session: deed(session, call))
        except NotDone as why:
            return _refusal(why, base, updating=deed is _update)

    def _search(self, session: Session, call: Call) -> Response:
        pairs = [(key, value) for key, value in call.query if key not in NOT_KEYS]
        most = self._settings.max_results
        limit = min(_number(call.first("limit"), most), most)
        found, more = manager.search(
            session, call.asker, content.keys_from_query(pairs), limit=limit,
            offset=_number(call.first("offset"), 0),
        )  # fmt: skip
        if not found:
            return Response(status_code=204)
        answer = _json([content.to_json(item) for item in found], 206 if more else 200)
        if more:
            answer.headers["Warning"] = f"299 {call.base}: There are additional results."
        return answer


def app(database: Database, settings: WorkManager) -> Starlette:
    """Make the application to mount at /dicomweb."""
    return Starlette(routes=Door(database, settings).routes())


def _create(session: Session, call: Call) -> Response:
    given = call.dataset()
    uid = (
        call.uid
        or str(given.get("SOPInstanceUID", ""))
        or str(given.get("AffectedSOPInstanceUID", ""))
    )
    status = manager.create(session, call.asker, uid, given)
    answer = Response(status_code=201)
    answer.headers["Location"] = f"{call.base}/workitems/{quote(uid)}"
    return _warned(answer, status, call.base)


def _retrieve(session: Session, call: Call) -> Response:
    return _json([content.to_json(manager.get(session, call.asker, call.uid))], 200)


def _update(session: Session, call: Call) -> Response:
    transaction = call.first("transaction-uid") or call.first("transaction")
    others = [key for key, _ in call.query if key not in {"transaction-uid", "transaction"}]
    transaction = transaction or (others[0] if others and is_uid(others[0]) else "")
    given = call.dataset()
    transaction = transaction or str(given.get("TransactionUID") or "")
    manager.update(session, call.asker, call.uid, given, transaction)
    return Response(status_code=200)


def _change_state(session: Session, call: Call) -> Response:
    given = call.dataset()
    wanted, transaction = given.get("ProcedureStepState"), given.get("TransactionUID")
    status = manager.change_state(
        session, call.asker, call.uid, str(wanted or ""), str(transaction or "")
    )
    return _warned(Response(status_code=200), status, call.base)


def _request_cancel(session: Session, call: Call) -> Response:
    status = manager.request_cancel(session, call.asker, call.uid, call.dataset())
    code = 409 if status is Status.ALREADY_CANCELED else 202
    return _warned(Response(status_code=code), status, call.base)


def _subscribe(session: Session, call: Call) -> Response:
    ae_title = _title(call)
    pairs = [tuple(part.split("=", 1)) for part in call.first("filter").split("&") if "=" in part]
    keys = content.keys_from_query([(key, value) for key, value in pairs]) if pairs else None
    locked = call.first("deletionlock").lower() == "true"
    watching.subscribe(session, call.asker, call.uid, ae_title, lock=locked, keys=keys)
    answer = Response(status_code=201)
    socket = call.base.replace("http", "ws", 1)
    answer.headers["Content-Location"] = f"{socket}/subscribers/{quote(ae_title)}"
    return answer


def _unsubscribe(session: Session, call: Call) -> Response:
    watching.unsubscribe(session, call.asker, call.uid, _title(call))
    return Response(status_code=200)


def _suspend(session: Session, call: Call) -> Response:
    watching.suspend(session, call.asker, call.uid, _title(call))
    return Response(status_code=200)


def _title(call: Call) -> str:
    title = call.path["ae"].strip()
    if not 1 <= len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise NotDone(Status.BAD_ARGUMENT, "This is no AE title.")
    return title


def _number(text: str, otherwise: int) -> int:
    if not text:
        return otherwise
    if not text.isdecimal() or len(text) > 9:
        raise NotDone(Status.BAD_ARGUMENT, "limit and offset are whole numbers.")
    return int(text)


def _wrong_type(request: Request, body: bytes) -> Response | None:
    """Refuse what is not DICOM JSON, or who takes no DICOM JSON."""
    given = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if body.strip() and given not in TAKEN:
        return JSONResponse({"detail": f"The body must be {JSON}."}, 415)
    wanted = request.headers.get("accept", "*/*").lower()
    if not any(one in wanted for one in ("*/*", "application/*", *TAKEN)):
        return JSONResponse({"detail": f"The answer is {JSON}."}, 406)
    return None


def _refusal(why: NotDone, base: str, *, updating: bool) -> Response:
    code = HTTP.get(why.status, 400)
    if updating and why.status is Status.FINAL:
        code = 400  # PS3.18 11.6.2
    answer = JSONResponse(
        {"status": f"{int(why.status):04X}", "detail": why.detail or MEANINGS[why.status]}, code
    )
    answer.headers["Warning"] = f"299 {base}: {MEANINGS[why.status]}"
    return answer


def _warned(answer: Response, status: Status, base: str) -> Response:
    if status is not Status.DONE:
        answer.headers["Warning"] = f"299 {base}: {MEANINGS[status]}"
    return answer


def _json(content_of: list[dict[str, Any]], code: int) -> Response:
    return Response(json.dumps(content_of), code, media_type=JSON)
