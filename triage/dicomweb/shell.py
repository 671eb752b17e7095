"""What every answer of our own server passes: its headers, and one way to say that we failed.

Pure ASGI and outermost. Below the worklist its gate does the same.
"""

import secrets
from pathlib import PurePath
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from triage import log
from triage.dicomweb.replies import plain

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Shell:
    """The outermost layer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as why:  # noqa: BLE001 - a trace may quote a patient; its place does not
            error = _report(why)
            if not started:  # an answer half given is cut off: it must not look whole
                await plain(500, f"This did not work; error {error}.")(scope, receive, sending)


def _report(why: Exception) -> str:
    error, trace = secrets.token_hex(4), why.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = ""
    if trace is not None:
        place = f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
    log.get().error("web.error", error=error, kind=type(why).__name__, place=place)
    return error
