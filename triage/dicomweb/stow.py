"""STOW-RS (PS3.18 10.5): instances in, each answered for by itself.

An instance is named as stored only when it is in the spool, synced with its directory entry. No
rows are written here: the ingestor finds the files as it finds the listener's.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from triage.dicomweb import wording
from triage.dicomweb.held import TooLarge
from triage.dicomweb.intake import DICOM, Intake, Outcome, Terms
from triage.dicomweb.multipart import MULTIPART, Malformed, Multipart, parameters
from triage.dicomweb.replies import base_of, plain
from triage.dicomweb.visitors import Away, Denied, Doorkeeper, Visitor
from triage.errors import TriageError
from triage.receive.part10 import Caller
from triage.receive.scan import is_uid
from triage.receive.storage import Storage
from triage.settings import Settings
from triage.spool import Spool

PIECE_BYTES: Final = 2**20
"""Bytes that are gathered before a thread takes them on."""
DRAINED_BYTES: Final = 16 * 2**20
"""Of a refused request that are read and dropped, so that its sender comes to read why."""
DRAINED_S: Final = 10.0

OUT_OF_RESOURCES: Final = range(0xA700, 0xA800)
UNAVAILABLE, NO_ROOM = 503, 507


class Slow(TriageError):
    """The sender did not go on in time."""


class _Single:
    """A body that is one application/dicom, without parts around it."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        intake.begin({})

    def feed(self, piece: bytes) -> None:
        self._intake.write(memoryview(piece))

    def close(self) -> None:
        self._intake.end()


@dataclass(slots=True)
class Refusal(Exception):
    """An answer in place of storing."""

    status: int
    why: str
    headers: dict[str, str] = field(default_factory=dict)


class Store:
    """The store transaction over one spool."""

    def __init__(self, settings: Settings, doorkeeper: Doorkeeper, spool: Spool) -> None:
        self._limits = settings.site.listener
        self._server = settings.site.dicomweb.server
        self._doorkeeper = doorkeeper
        self._spool = spool
        self._storage = Storage(spool, self._limits)
        self._under_way = 0

    async def serve(self, request: Request) -> Response:
        """Serve POST /studies and /studies/{study}."""
        try:
            visitor = await run_in_threadpool(self._doorkeeper.admit, request, "sender")
            media_type = self._check(request)
            self._under_way += 1
            try:
                outcomes = await self._take(request, visitor)
            finally:
                self._under_way -= 1
        except (Refusal, Denied, Away) as why:
            await _drain(request)
            return self._refused(request, why)
        return self._answer(request, media_type, outcomes)

    def _check(self, request: Request) -> str:
        """Judge a request by its head; gives the media type of its answer."""
        media_type = wording.wanted(request.headers.get("accept", ""), (wording.JSON, wording.XML))
        study = request.path_params.get("study", "")
        length = request.headers.get("content-length", "0")
        if media_type is None:
            raise Refusal(406, f"The answer is {wording.JSON} or {wording.XML}.")
        if study and not is_uid(study.encode("ascii", "replace")):
            raise Refusal(400, "The study in the path is no UID.")
        if not length.isdecimal() or int(length) > self._server.max_request_bytes:
            raise Refusal(413, "The request is larger than dicomweb.server.max_request_bytes.")
        if self._under_way >= self._server.max_uploads:
            raise Refusal(UNAVAILABLE, "Too many store requests at a time.")
        if not self._storage.has_room():
            raise Refusal(NO_ROOM, "The spool is nearly full.")
        return media_type

    async def _take(self, request: Request, visitor: Visitor) -> list[Outcome]:
        terms = Terms(request.path_params.get("study", ""), self._server.max_instances)
        intake = Intake(self._spool, self._limits, self._caller(request, visitor), terms)
        try:
            reader = _reader(request.headers.get("content-type", ""), intake)
            async for piece in self._pieces(request):
                await run_in_threadpool(reader.feed, piece)
            await run_in_threadpool(reader.close)
        except Malformed as why:
            raise Refusal(400, f"{_sentence(why)} {_kept(intake.outcomes)}") from None
        except TooLarge as why:
            raise Refusal(413, f"{_sentence(why)} {_kept(intake.outcomes)}") from None
        except (Slow, ClientDisconnect):
            raise Refusal(408, f"The body did not come in time. {_kept(intake.outcomes)}") from None
        finally:
            await run_in_threadpool(intake.close)
        if not intake.outcomes:
            raise Refusal(400, "There is no instance in the request.")
        return intake.outcomes

    async def _pieces(self, request: Request) -> AsyncIterator[bytes]:
        """Give the body in larger pieces, while it keeps coming."""
        gathered, size = bytearray(), 0
        until = time.monotonic() + self._server.request_timeout_s
        stream = request.stream().__aiter__()
        while True:
            left = min(self._server.idle_timeout_s, until - time.monotonic())
            try:
                gathered += (chunk := await asyncio.wait_for(anext(stream), max(left, 0.0)))
            except StopAsyncIteration:
                request.state.is_over = True
                break
            except TimeoutError:
                request.state.is_over = True
                raise Slow from None
            size += len(chunk)
            if size > self._server.max_request_bytes:
                msg = "the request is larger than dicomweb.server.max_request_bytes"
                raise TooLarge(msg)
            if len(gathered) >= PIECE_BYTES:
                yield bytes(gathered)
                gathered.clear()
        yield bytes(gathered)

    def _caller(self, request: Request, visitor: Visitor) -> Caller:
        """Give who sends, in the words of an association; a token's name stands for an AE title."""
        title = "".join(one if one.isascii() and one not in '\\"' else "?" for one in visitor.name)
        ours = request.scope.get("server") or ("", 0)
        return Caller(
            ae_title=title[:16].strip() or "?",
            called_ae_title=self._limits.ae_title,
            address=visitor.address,
            port=request.client.port if request.client else 0,
            our_address=str(ours[0]),
            our_port=int(ours[1] or 0),
            scheme=str(request.scope.get("scheme", "http")),
        )

    def _answer(self, request: Request, media_type: str, outcomes: list[Outcome]) -> Response:
        told = response(outcomes, base_of(request))
        failures = [one.failure for one in outcomes if one.failure]
        status = 200 if not failures else 202 if len(failures) < len(outcomes) else 409
        headers = {}
        if status == 409 and all(one in OUT_OF_RESOURCES for one in failures):
            status, headers = NO_ROOM, self._later()
        for code in sorted(set(failures)):
            self._spool.journal.note(
                "stow.refused", code=f"0x{code:04X}", address=_address(request)
            )
        body = wording.to_json(told) if media_type == wording.JSON else wording.to_xml(told)
        return Response(body, status, headers, media_type)

    def _refused(self, request: Request, why: Refusal | Denied | Away) -> Response:
        status = UNAVAILABLE if isinstance(why, Away) else why.status
        said = why.why if isinstance(why, Refusal) else str(why)
        name = why.who.name if isinstance(why, Denied) and why.who else ""
        self._spool.journal.note(
            "stow.refused", code=str(status), ae_title=name, address=_address(request)
        )
        headers = self._later() if status in {UNAVAILABLE, NO_ROOM} else {}
        return plain(status, said, {**headers, "Connection": "close"})

    def _later(self) -> dict[str, str]:
        return {"Retry-After": str(self._server.retry_after_s)}


def response(outcomes: list[Outcome], base: str) -> dict[str, Any]:
    """Give the Store Instances Response (PS3.18 Table I.1-1) in the DICOM JSON Model."""
    stored = [_reference(one, base) for one in outcomes if not one.failure]
    named = [_reference(one, base) for one in outcomes if one.failure and one.sop_instance_uid]
    nameless = [
        {"00081197": _element("US", one.failure)}
        for one in outcomes
        if one.failure and not one.sop_instance_uid
    ]
    studies = {one.study_instance_uid for one in outcomes if not one.failure}
    url = f"{base}/studies/{min(studies)}" if len(studies) == 1 else ""
    told: dict[str, Any] = {"00081190": _element("UR", url) if url else {"vr": "UR"}}
    for tag, items in (("00081198", named), ("00081199", stored), ("0008119A", nameless)):
        if items:
            told[tag] = {"vr": "SQ", "Value": items}
    return told


def _reference(one: Outcome, base: str) -> dict[str, Any]:
    item: dict[str, Any] = {
        "00081150": _element("UI", one.sop_class_uid) if one.sop_class_uid else {"vr": "UI"},
        "00081155": _element("UI", one.sop_instance_uid),
    }
    if one.failure:
        return {**item, "00081197": _element("US", one.failure)}
    place = (
        f"studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
        f"/instances/{one.sop_instance_uid}"
    )
    return {**item, "00081190": _element("UR", f"{base}/{place}")}


def _element(vr: str, value: str | int) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


def _reader(content_type: str, intake: Intake) -> Multipart | _Single:
    """Give what reads the body.

    Raises:
        Refusal: 415.
        Malformed: the boundary is none.
    """
    kind, given = parameters(content_type)
    if kind == DICOM:
        return _Single(intake)
    if kind != MULTIPART or given.get("type", DICOM).lower() != DICOM:
        raise Refusal(415, f'The body must be {MULTIPART}; type="{DICOM}".')
    return Multipart(given.get("boundary", ""), intake)


async def _drain(request: Request) -> None:
    """Read on for a while: a sender that still writes would never see the answer."""
    size, until = 0, time.monotonic() + DRAINED_S
    if getattr(request.state, "is_over", False):
        return
    if request.headers.get("expect", "").lower() == "100-continue":
        return
    while size < DRAINED_BYTES and (left := until - time.monotonic()) > 0:
        try:
            message = await asyncio.wait_for(request.receive(), left)
        except TimeoutError:
            return
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return


def _kept(outcomes: list[Outcome]) -> str:
    stored = sum(not one.failure for one in outcomes)
    return f"Instances stored before that: {stored}."


def _sentence(why: TriageError) -> str:
    text = str(why)
    return f"{text[:1].upper()}{text[1:]}."


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
