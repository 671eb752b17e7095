"""A manager by UPS-RS, with httpx."""

import json
import ssl
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import httpx
from pydicom.dataset import Dataset

from triage.errors import ConfigError, TryAgain
from triage.ups import content
from triage.ups.client import RETURNED, WANTED, change_of
from triage.ups.words import NotDone, State, Status
from triage.workflow import WebManager

JSON: Final = "application/dicom+json"
AT_ONCE: Final = 200
BUSY: Final = frozenset({401, 403, 408, 425, 429})
"""Not now. A token that is refused is a person's to mend; the work item stays."""
WORDS: Final = {
    "already in progress": Status.CLAIMED,
    "transaction uid": Status.WRONG_TRANSACTION,
    "final state requirements": Status.NOT_MET,
    "no longer be updated": Status.FINAL,
}
"""How the standard's sentences begin to say what a DIMSE status says."""


class WebClient:
    """One manager behind a URL."""

    def __init__(self, settings: WebManager) -> None:
        self._settings = settings
        headers = {"Accept": JSON, **authorization(settings)}
        self._http = httpx.Client(
            headers=headers, timeout=settings.deadline_s, verify=trust(settings),
            follow_redirects=False,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """Give its name in the settings."""
        return self._settings.name

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @property
    def codes(self) -> frozenset[str]:
        """Give the Scheduled Workitem Codes that we take from it."""
        return frozenset(self._settings.codes)

    def offers(self) -> list[Dataset]:
        """Give the items that wait for a performer."""
        query = [*WANTED.items(), *(("includefield", one) for one in RETURNED)]
        answer = self._ask("GET", "/workitems", query=[*query, ("limit", str(AT_ONCE))])
        if answer.status_code == HTTPStatus.NO_CONTENT:
            return []
        return [content.from_json(one) for one in _list(answer)]

    def get(self, uid: str) -> Dataset:
        """Give one whole item."""
        found = _list(self._ask("GET", f"/workitems/{uid}"))
        return content.from_json(found)

    def claim(self, uid: str, transaction_uid: str) -> None:
        """Take an item under our lock."""
        self._change(uid, State.IN_PROGRESS, transaction_uid)

    def update(self, uid: str, transaction_uid: str, change: Dataset) -> None:
        """Write attributes of an item that is ours."""
        query = [("transaction-uid", transaction_uid)]
        self._ask("POST", f"/workitems/{uid}", query=query, body=change)

    def finish(self, uid: str, transaction_uid: str, state: State) -> None:
        """Complete or cancel an item that is ours."""
        self._change(uid, state, transaction_uid)

    def watch(self, uid: str) -> None:
        """Subscribe our own title to an item."""
        self._ask("POST", f"/workitems/{uid}/subscribers/{self._settings.ae_title}")

    def _change(self, uid: str, state: State, transaction_uid: str) -> None:
        told = change_of(state, transaction_uid)
        self._ask("PUT", f"/workitems/{uid}/state", body=told)

    def _ask(
        self, method: str, path: str, *, query: Iterable[tuple[str, str]] = (),
        body: Dataset | None = None,
    ) -> httpx.Response:  # fmt: skip
        text = None if body is None else json.dumps([content.to_json(body)])
        headers = {} if text is None else {"Content-Type": JSON}
        try:
            answer = self._http.request(
                method,
                self._settings.url + path,
                params=httpx.QueryParams(tuple(query)),
                content=text,
                headers=headers,
            )
        except httpx.HTTPError as why:
            msg = f"{self.name}: no answer ({type(why).__name__})"
            raise TryAgain(msg) from None
        _judge(answer, self.name)
        return answer


def authorization(settings: WebManager) -> dict[str, str]:
    """Give the header that names us, from a file that only we can read.

    Raises:
        ConfigError: there is no such file, or others can read it.
    """
    path = settings.token_file
    if path is None:
        return {}
    try:
        open_to_others = path.stat().st_mode & 0o077
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as why:
        msg = f"site.yaml: ups.performer.managers: cannot read {path} ({type(why).__name__})"
        raise ConfigError(msg) from None
    if open_to_others:
        msg = f"{path} is readable by others; run: chmod 600 {path}"
        raise ConfigError(msg)
    return {"Authorization": f"Bearer {token}"}


def trust(settings: WebManager) -> ssl.SSLContext:
    """Give whose certificates we believe."""
    return ssl.create_default_context(cafile=settings.ca_file)


def _list(answer: httpx.Response) -> Any:  # noqa: ANN401 - JSON from another program
    try:
        found = answer.json()
    except ValueError:
        msg = "the manager's answer is no JSON"
        raise TryAgain(msg) from None
    return found if isinstance(found, list) else [found]


def _judge(answer: httpx.Response, name: str) -> None:
    """Raise what a status code and its Warning header mean (PS3.18 11)."""
    code = answer.status_code
    if code < HTTPStatus.MULTIPLE_CHOICES:
        return
    if code >= HTTPStatus.INTERNAL_SERVER_ERROR or code in BUSY:
        msg = f"{name} cannot do it now ({code})"
        raise TryAgain(msg)
    raise NotDone(_status(answer), f"{name} refused ({code})")


def _status(answer: httpx.Response) -> Status:
    if answer.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return Status.UNKNOWN
    said = answer.headers.get("warning", "").lower()
    return next((status for words, status in WORDS.items() if words in said), Status.BAD_ARGUMENT)
