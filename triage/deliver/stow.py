"""To a DICOMweb server by STOW-RS; what is in doubt is asked for by QIDO-RS (PS3.18 10.5, 10.6).

One object a request: the answer is about nothing else. Failure and Warning Reasons are C-STORE
statuses, and mean the same here.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final

import httpx
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from triage import IMPLEMENTATION_VERSION_NAME, dimse
from triage.deliver.credentials import secret, trust
from triage.deliver.http_post import CONNECT_S, SHARE, bearer, raise_for
from triage.destinations import Stow
from triage.dimse import SUCCESS, Verdict
from triage.errors import Broken, InDoubt, TryAgain
from triage.finding import Document

JSON: Final = "application/dicom+json"
ACCEPTED: Final = 202
CONFLICT: Final = 409
NO_CONTENT: Final = 204
NOT_FOUND: Final = 404


def store(document: Document, to: Stow) -> int:
    """Send the document's bytes as they are; gives the status under which the server keeps them.

    Raises:
        InDoubt: the request left, and no answer came.
        TryAgain: nobody there, busy, or a credential that a person must renew.
        Broken: the server will never take it.
    """
    _place(document)  # what is no DICOM file never leaves
    boundary = secrets.token_hex(16)
    body = (
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        + document.content
        + f"\r\n--{boundary}--\r\n".encode()
    )
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": JSON,
    }
    with _client(to) as http:
        answer = _asked(to, http, "POST", "studies", content=body, headers=headers)
    if answer.status_code not in {200, ACCEPTED, CONFLICT}:
        raise_for(answer.status_code, to.name)
    return _settled(_status(answer, document), answer.status_code, document, to)


def holds(document: Document, to: Stow) -> bool:
    """Ask by QIDO-RS whether the server keeps the document.

    Raises:
        TryAgain: nobody answers.
        Broken: the document is no DICOM file.
    """
    place = _place(document)
    path = f"studies/{place.StudyInstanceUID}/series/{place.SeriesInstanceUID}/instances"
    query = {"SOPInstanceUID": document.sop_instance_uid}
    with _client(to) as http:
        answer = _asked(to, http, "GET", path, params=query, headers={"Accept": JSON})
    if answer.status_code in {NO_CONTENT, NOT_FOUND}:
        return False
    try:
        raise_for(answer.status_code, to.name)
    except Broken:
        return False  # it offers no query
    found = _json(answer)
    matches = found if isinstance(found, list) else []
    uids = [_dataset(one).get("SOPInstanceUID") for one in matches if isinstance(one, dict)]
    return document.sop_instance_uid in uids


def query(to: Stow) -> None:
    """Ask by QIDO-RS for a study that there is not: tells whether queries are answered at all.

    Raises:
        TryAgain: nobody answers.
        Broken: the server answers no such query.
    """
    with _client(to) as http:
        asked = {"StudyInstanceUID": "2.25.0", "limit": "1"}
        answer = _asked(to, http, "GET", "studies", params=asked, headers={"Accept": JSON})
    raise_for(answer.status_code, to.name)


def _settled(status: int | None, http_status: int, document: Document, to: Stow) -> int:
    """Turn the status of the one object into its fate, as ``dimse`` does after a C-STORE."""
    if status is None:  # 409 without a reason: some servers mean that they have it
        if holds(document, to):
            return SUCCESS
        detail = f"{to.name} answered {http_status} and named no reason"
        raise Broken(code="refused", detail=detail, status=http_status)
    fate = dimse.verdict(status)
    if fate is Verdict.STORED:
        return status
    if fate is Verdict.DUPLICATE and holds(document, to):
        return status
    if fate is Verdict.REFUSED:
        detail = f"{to.name} refused the object (0x{status:04X})"
        raise Broken(code="refused", detail=detail, status=status)
    msg = f"{to.name} cannot store it now (0x{status:04X})"
    if fate is Verdict.DUPLICATE:
        msg = f"{to.name} says duplicate (0x{status:04X}) but does not find the instance"
    raise TryAgain(msg, status=status)


def _status(answer: httpx.Response, document: Document) -> int | None:
    """Give the object's Failure or Warning Reason, 0 without either; None when it is not named."""
    found = _json(answer)
    told = _dataset(found) if isinstance(found, dict) else Dataset()
    for item in told.get("FailedSOPSequence", ()):
        if item.get("ReferencedSOPInstanceUID", document.sop_instance_uid) == (
            document.sop_instance_uid
        ):
            return int(item.get("FailureReason", dimse.PROCESSING_FAILURE))
    for item in told.get("ReferencedSOPSequence", ()):
        if item.get("ReferencedSOPInstanceUID") == document.sop_instance_uid:
            return int(item.get("WarningReason", SUCCESS))
    return SUCCESS if answer.status_code == httpx.codes.OK else None


def _json(answer: httpx.Response) -> Any:  # noqa: ANN401 - whatever a server sends
    try:
        return answer.json()
    except ValueError:
        return None


def _dataset(found: dict[str, Any]) -> Dataset:
    """Read DICOM JSON (PS3.18 F); what is none is empty."""
    try:
        return Dataset.from_json(found, bulk_data_uri_handler=lambda _uri: b"")
    except (ValueError, TypeError, KeyError, AttributeError):
        return Dataset()


def _place(document: Document) -> Dataset:
    tags = ["StudyInstanceUID", "SeriesInstanceUID"]
    try:
        place = pydicom.dcmread(BytesIO(document.content), specific_tags=list(tags))
    except InvalidDicomError:
        raise Broken(code="internal", detail="the document is no DICOM file") from None
    return place


@contextmanager
def _client(to: Stow) -> Iterator[httpx.Client]:
    """Hold a client: no redirects, no proxies, the certificate checked."""
    whole = to.deadline_s * SHARE
    headers = {"User-Agent": IMPLEMENTATION_VERSION_NAME, **bearer(to.token_file)}
    who = (to.user, secret(to.password_file)) if to.user and to.password_file else None
    with httpx.Client(
        base_url=f"{to.url.rstrip('/')}/",
        timeout=httpx.Timeout(whole, connect=min(CONNECT_S, whole)),
        verify=trust(to) if to.url.startswith("https:") else False,
        auth=who,
        headers=headers,
        trust_env=False,
    ) as client:
        yield client


def _asked(
    to: Stow,
    http: httpx.Client,
    method: str,
    path: str,
    **request: Any,  # noqa: ANN401 - httpx'
) -> httpx.Response:
    try:
        return http.request(method, path, **request)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as why:
        msg = f"{to.name}: no connection ({type(why).__name__})"
        raise TryAgain(msg) from None
    except httpx.HTTPError as why:
        msg = f"{to.name}: no answer ({type(why).__name__}); it may have arrived"
        raise InDoubt(msg) from None
