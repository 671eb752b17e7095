"""One stream of events to an open page (HTML, 9.2): that something changed, never what.

However many pages are open, the rows are looked at once a second. A stream ends with its session,
with the server, and where there are as many as there may be; a page without one asks by itself.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Receive, Scope, Send

from db.pulse import stamp
from triage.reading import Reading
from triage.worklist import context, sessions
from triage.worklist.context import Context

router = APIRouter()
STREAM: Final = "/studies/stream"
LOOK_S: Final = 1.0
BEAT_S: Final = 5.0
"""How often a page hears that it is still told."""
SESSION_S: Final = 5.0
"""How often it is asked whether the session still holds."""


class Live:
    """Who is told, and when the rows last changed."""

    def __init__(self, limits: Reading) -> None:
        self._limits = limits
        self._told: Counter[str] = Counter()
        self._lock = asyncio.Lock()
        self._looked = -LOOK_S
        self._seen: tuple[object, ...] = ()
        self.is_open = False
        """While the server serves; a stream of one that does not ends at once."""
        self.version = 0

    @property
    def streams(self) -> int:
        """Give how many pages are told."""
        return self._told.total()

    def enter(self, session: str) -> bool:
        """Count one more stream of a session; False where there may be none."""
        if self.streams >= self._limits.max_streams:
            return False
        if self._told[session] >= self._limits.max_streams_per_session:
            return False
        self._told[session] += 1
        return True

    def leave(self, session: str) -> None:
        """Count one less."""
        self._told[session] -= 1
        self._told += Counter()  # forgets the zeros

    async def look(self, here: Context) -> int:
        """Give the rows' version: looks at them at most once a second, whoever asks."""
        async with self._lock:
            if time.monotonic() - self._looked >= LOOK_S:
                self._looked = time.monotonic()
                found = await run_in_threadpool(_stamp, here)
                if found not in ((), self._seen):
                    self._seen, self.version = found, self.version + 1
            return self.version


class Told(StreamingResponse):
    """A stream that is counted until it is over, whoever ended it."""

    def __init__(self, content: AsyncIterator[str], live: Live, session: str) -> None:
        super().__init__(
            content, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )
        self._live, self._session = live, session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._live.leave(self._session)


@router.get(STREAM)
async def stream(request: Request) -> Response:
    """Tell the page of changes until its session ends."""
    live: Live = request.app.state.live
    who = context.viewer(request)
    if not live.enter(who.token_sha256):
        return PlainTextResponse("too many pages are told of changes", 503)
    token = request.cookies.get(context.of(request).session_cookie, "")
    return Told(_events(context.of(request), live, token), live, who.token_sha256)


async def _events(here: Context, live: Live, token: str) -> AsyncIterator[str]:
    version, beat, asked = await live.look(here), time.monotonic(), time.monotonic()
    yield _event("changed", version)
    while live.is_open:
        await asyncio.sleep(LOOK_S)
        at, found = time.monotonic(), await live.look(here)
        if at - asked >= SESSION_S:
            asked = at
            if not await run_in_threadpool(_holds, here, token):
                yield _event("ended", found)
                return
        if found != version or at - beat >= BEAT_S:
            kind, version, beat = "changed" if found != version else "beat", found, at
            yield _event(kind, version)


def _event(kind: str, version: int) -> str:
    return f"event: {kind}\ndata: {version}\n\n"


def _stamp(here: Context) -> tuple[object, ...]:
    """Look at the rows; nothing where they cannot be read now."""
    try:
        with here.database.reading() as session:
            return stamp(session)
    except SQLAlchemyError:
        return ()


def _holds(here: Context, token: str) -> bool:
    try:
        with here.database.reading() as session:
            return sessions.find(session, here.settings.site.web, token) is not None
    except SQLAlchemyError:
        return True  # the next look tells
