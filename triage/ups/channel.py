"""The event channel of UPS-RS: a WebSocket on which one subscriber's events arrive.

An event is noted as taken after it was sent: a connection that breaks may bring it twice, never
not at all.
"""

import asyncio
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from db.engine import Database
from db.ups import NoticeRow
from triage import log
from triage.ups import content, notices, tokens
from triage.ups.rows import Asker
from triage.ups.words import EVENT

POLL_S: Final = 0.25
MAX_CHANNELS: Final = 32
POLICY_VIOLATION: Final = 1008
TRY_AGAIN: Final = 1013
US: Final = "US"
UI: Final = "UI"


class Channel:
    """The channels of one server."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open = 0

    async def serve(self, socket: WebSocket) -> None:
        """Send one subscriber its events until it goes."""
        asker = await run_in_threadpool(self._asker, socket)
        if asker is None or asker.roles.isdisjoint({"watcher", "performer"}):
            await socket.close(POLICY_VIOLATION)
            return
        if self._open >= MAX_CHANNELS:
            await socket.close(TRY_AGAIN)
            return
        await socket.accept()
        self._open += 1
        try:
            await self._pump(socket, socket.path_params["ae"])
        finally:
            self._open -= 1

    async def _pump(self, socket: WebSocket, ae_title: str) -> None:
        gone = asyncio.create_task(_gone(socket))
        number = 0
        try:
            while not gone.done():
                waiting = await run_in_threadpool(self._waiting, ae_title)
                for notice in waiting:
                    number += 1
                    await socket.send_json(_event(notice, number))
                if waiting:
                    await run_in_threadpool(self._taken, [one.id for one in waiting])
                else:
                    await asyncio.wait({gone}, timeout=POLL_S)
        except (WebSocketDisconnect, RuntimeError, SQLAlchemyError) as why:
            log.get().info("ups.channel-closed", why=type(why).__name__)
        finally:
            gone.cancel()

    def _asker(self, socket: WebSocket) -> Asker | None:
        address = socket.client.host if socket.client else ""
        return tokens.bearer(self._database, socket.headers.get("authorization", ""), address)

    def _waiting(self, ae_title: str) -> list[NoticeRow]:
        with self._database.reading() as session:
            return notices.waiting(session, [ae_title])

    def _taken(self, notice_ids: list[int]) -> None:
        with self._database.begin() as session:
            notices.taken(session, notice_ids)


async def _gone(socket: WebSocket) -> None:
    """Wait until the other side closes; what it says meanwhile is not listened to."""
    try:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
    except (WebSocketDisconnect, RuntimeError):
        return


def _event(notice: NoticeRow, number: int) -> dict[str, object]:
    """Give an event as PS3.18 11.13 has it: the command's elements beside the report's."""
    told = content.to_json(content.parse(notice.content))
    return {
        "00000002": {"vr": UI, "Value": [EVENT]},
        "00000110": {"vr": US, "Value": [number % 65_536]},
        "00001000": {"vr": UI, "Value": [notice.sop_instance_uid]},
        "00001002": {"vr": US, "Value": [notice.event_type]},
        **told,
    }
