"""The application: routers, guard and gate put together, and the server that runs it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from types import FrameType
from typing import Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from db.engine import connect
from triage.settings import Settings
from triage.worklist import (
    account,
    admin,
    admin_acts,
    api,
    auditing,
    claims,
    context,
    deliveries,
    dicomweb,
    doubts,
    elsewhere,
    emergencies,
    export,
    feedback,
    filters,
    guard,
    health,
    heat,
    images,
    lists,
    live,
    ohif,
    pages,
    paper,
    passwords,
    saved,
    showing,
    signin,
    single_sign_on,
    viewing,
    waiting,
)
from triage.worklist.assets import Assets
from triage.worklist.headers import Gate
from triage.worklist.images import Previews
from triage.worklist.signin import Throttle

SAYS = {
    400: "This page could not be understood.",
    403: "This is not allowed.",
    404: "There is no such page.",
    405: "There is no such page.",
    413: "This is larger than any form of ours.",
    422: "This page could not be understood.",
}
GRACE_S = 5
MAX_HEAD_BYTES = 32_768
MAX_CONNECTIONS = 256


def create_app(settings: Settings) -> FastAPI:
    """Make the application. It opens the database; pixels are decoded in a child of its own."""
    database = connect(settings.database_url)
    previews = Previews(settings.site.decode)
    here = context.build(settings, database)
    reading = dicomweb.reading(here)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        passwords.verify("", None)  # the first unknown name must not take longer than others
        app.state.live.is_open = True
        yield
        app.state.live.is_open = False
        previews.close()
        app.state.viewing.close()
        if reading is not None:
            reading.close()
        database.dispose()

    app = FastAPI(
        title="Triage",
        lifespan=lifespan,
        dependencies=[Depends(guard.admit)],
        routes=list(_routes()),
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.context = here
    app.state.previews = previews
    app.state.viewing = viewing.Viewing(settings.site.decode)
    app.state.throttle = Throttle()
    app.state.remembered = lists.Remembered()
    app.state.choices = filters.Choices()
    app.state.live = live.Live(settings.site.reading)
    app.mount("/static", Assets())
    if (programs := dicomweb.app(here, reading)) is not None:
        app.mount("/dicomweb", programs)
    app.add_exception_handler(guard.SignInFirst, guard.refuse)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _misread)
    app.add_middleware(Gate, secure=settings.site.web.secure_cookies)
    return app


@cache
def _routes() -> tuple[BaseRoute, ...]:
    """Give every route, behind the guard: built once, because none knows its application.

    FastAPI adds an application's own dependencies to routers that are included only.
    """
    whole = APIRouter(dependencies=[Depends(guard.admit)])
    for part in (lists, filters, live, claims, saved, export):  # before the paths that name a study
        whole.include_router(part.router)
    for part in (health, signin, images, api, feedback, deliveries, doubts, pages, paper, waiting):
        whole.include_router(part.router)
    for part in (viewing, showing, heat, ohif, elsewhere, admin, admin_acts, auditing):
        whole.include_router(part.router)
    for part in (account, single_sign_on, emergencies):
        whole.include_router(part.router)
    return tuple(whole.routes)


def serve(
    settings: Settings, *, port: int | None = None, ready: Callable[[int], None] | None = None
) -> None:
    """Run the worklist until SIGTERM or SIGINT; tells ``ready`` the port once it listens."""
    web = settings.site.web
    config = uvicorn.Config(
        create_app(settings),
        host=web.host,
        port=web.port if port is None else port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=web.secure_cookies,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        limit_concurrency=MAX_CONNECTIONS,
    )
    _Server(config, ready).run()


class _Server(uvicorn.Server):
    """A server that says when and where it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[int], None] | None) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Start, then tell the port."""
        await super().startup(sockets)
        if self.started and self._ready is not None:
            self._ready(self.servers[0].sockets[0].getsockname()[1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, and end the streams, for which a stop would wait."""
        self.config.app.state.live.is_open = False  # type: ignore[union-attr] # it is a FastAPI
        super().handle_exit(sig, frame)


def _refused(request: Request, why: Exception) -> Response:
    status = why.status_code if isinstance(why, HTTPException) else 500
    said = why.detail if isinstance(why, HTTPException) else ""
    return _say(request, status, said if status in {400, 403, 404} else "")


def _misread(request: Request, _why: Exception) -> Response:
    """Answer without the input, which FastAPI would echo."""
    return _say(request, 422, "")


def _say(request: Request, status: int, said: str) -> Response:
    plain = said if said not in {"", "Not Found"} else SAYS.get(status, "This did not work.")
    if request.url.path.startswith("/api/"):
        return JSONResponse({"detail": plain}, status)
    return context.page(request, "error.html", {"said": plain, "status": status}, status=status)
