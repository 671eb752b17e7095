"""What every request and every answer passes: size limit, security headers, one error page.

Pure ASGI and outermost, so that no answer leaves without it: not a static file, not an error.
"""

import secrets
from http import HTTPStatus
from pathlib import PurePath
from typing import Final

from sqlalchemy.exc import DBAPIError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db.engine import is_transient
from triage import log
from triage.worklist import assets, context, theme

MAX_BODY_BYTES: Final = 65_536
MAX_WORK_ITEM_BYTES: Final = 4_194_304
"""A work item names every instance of a study."""
WORK_ITEMS: Final = "/dicomweb/"
PROGRAMS: Final = ("/api/", WORK_ITEMS)
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "object-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
OHIF: Final = "/ohif"
OHIF_HEADERS: Final = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' 'wasm-unsafe-eval'",
            "worker-src 'self' blob:",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self' data: blob:",
            "object-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        )
    ),
    "Cache-Control": "private, max-age=3600",
}
"""Of OHIF's own files, which hold nothing of a patient: it decodes in workers and WebAssembly."""
KEPT: Final = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.NOT_MODIFIED)
HSTS: Final = "max-age=31536000"
RETRY_AFTER_S: Final = 5
PAGE: Final = """<!doctype html>
<html lang="en" data-theme="{theme}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="{theme}">
<title>{title} - Triage</title>
<link rel="stylesheet" href="/static/triage.css">
<link rel="stylesheet" href="/static/theme.css"></head>
<body>{mode}<main class="notice"><h1>{title}</h1>
<p>{said}</p>
<p><a href="/">Back to where you start</a></p>
<p>For prioritization only. Not for diagnosis. Review full images per standard of care.</p>
</main></body></html>
"""
MODE: Final = '<aside class="research" aria-label="Mode">{research}</aside>'
BROKEN: Final = """The page could not be made. Nothing was lost: studies are received and analysed
apart from the pages. Tell the administrator this number: <code>{error}</code>"""
AWAY: Final = (
    "Try again in a moment. Studies that come now are kept. "
    "If you sent a form, look first whether it was taken."
)
AWAY_TITLE: Final = "The database does not answer"


class Gate:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self._app = app
        self._headers = HEADERS | ({"Strict-Transport-Security": HSTS} if secure else {})

    def _of(self, path: str, status: int) -> dict[str, str]:
        if path.startswith(f"{assets.PLACE}/") and status in KEPT:
            return self._headers | {"Cache-Control": assets.FOREVER}
        is_ohif = path == OHIF or path.startswith(f"{OHIF}/")
        return self._headers | OHIF_HEADERS if is_ohif else self._headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in self._of(scope["path"], message["status"]).items():
                    headers[name] = value
            await send(message)

        try:
            await self._app(scope, _limited(receive, _most(scope)), sending)
        except Exception as why:  # noqa: BLE001 - a trace may quote a patient; its place does not
            error = _report(why)
            if not started:
                await _trouble(Request(scope), why, error)(scope, receive, sending)


def _trouble(request: Request, why: Exception, error: str) -> Response:
    """Say what went wrong, without asking the database for anything."""
    if not (isinstance(why, DBAPIError) and is_transient(why)):
        text = _page(request, "Something went wrong here", BROKEN.format(error=error))
        return HTMLResponse(text, 500)
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    if request.url.path.startswith(PROGRAMS):
        return JSONResponse({"detail": f"{AWAY_TITLE}. {AWAY}"}, 503, headers)
    return HTMLResponse(_page(request, AWAY_TITLE, AWAY), 503, headers)


def _page(request: Request, title: str, said: str) -> str:
    """Write the page by itself: a template may be what is broken."""
    mode = context.of(request).settings.site.intended_use.mode
    shown = MODE.format(research=context.RESEARCH) if mode == "research" else ""
    return PAGE.format(title=title, said=said, theme=theme.of(request), mode=shown)


def _most(scope: Scope) -> int:
    return MAX_WORK_ITEM_BYTES if scope["path"].startswith(WORK_ITEMS) else MAX_BODY_BYTES


def _limited(receive: Receive, left: int) -> Receive:
    async def receiving() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413)
        return message

    return receiving


def _report(why: Exception) -> str:
    """Log where and as what an error came, without its text; gives the number to ask for."""
    error, trace = secrets.token_hex(4), why.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = ""
    if trace is not None:
        place = f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
    log.get().error("web.error", error=error, kind=type(why).__name__, place=place)
    return error
