"""One POST over HTTP, and what its status means for a sender.

No redirects, because they would send a patient's result to an address that the other side chose;
no proxy from the environment; the peer's certificate is checked.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from triage import IMPLEMENTATION_VERSION_NAME
from triage.deliver.credentials import secret, trust
from triage.destinations import Fhir, Webhook
from triage.errors import Broken, InDoubt, TryAgain

SHARE: Final = 0.9
"""Of the deadline: so the sending process need not be ended for a server that is silent."""
CONNECT_S: Final = 5.0
_LATER: Final = frozenset({401, 403, 408, 409, 423, 425, 429, 500, 502, 503, 504, 507})
"""Busy, locked, or a credential that a person will renew."""


@contextmanager
def client(to: Fhir | Webhook) -> Iterator[httpx.Client]:
    """Hold a client that trusts what the destination's settings name."""
    limits = httpx.Timeout(to.deadline_s * SHARE, connect=min(CONNECT_S, to.deadline_s * SHARE))
    verify = trust(to) if to.url.startswith("https:") else False
    agent = {"User-Agent": IMPLEMENTATION_VERSION_NAME}
    with httpx.Client(timeout=limits, verify=verify, trust_env=False, headers=agent) as one:
        yield one


def post(to: Fhir | Webhook, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
    """POST the bytes to the address of the settings; gives an answer of 200 to 299.

    Raises:
        InDoubt: the request left, and no answer came.
        TryAgain: nobody there, or busy.
        Broken: the server will never take it.
    """
    with client(to) as http:
        try:
            answer = http.post(to.url, content=content, headers=dict(headers))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as why:
            msg = f"{to.name}: no connection ({type(why).__name__})"
            raise TryAgain(msg) from None
        except httpx.HTTPError as why:
            msg = f"{to.name}: no answer ({type(why).__name__}); it may have arrived"
            raise InDoubt(msg) from None
    raise_for(answer.status_code, to.name)
    return answer


def raise_for(status: int, name: str) -> None:
    """Sort an HTTP status (RFC 9110) into taken, later and refused.

    Raises:
        TryAgain, Broken: as ``post``.
    """
    if httpx.codes.is_success(status):
        return
    words = f"{name} answered {status} {httpx.codes.get_reason_phrase(status)}".rstrip()
    if status in _LATER:
        raise TryAgain(words, status=status)
    raise Broken(code="refused", detail=words, status=status)


def bearer(token_file: Path | None) -> dict[str, str]:
    """Give the Authorization header of a token (RFC 6750), none without a file.

    Raises:
        TryAgain: the file cannot be used.
    """
    return {} if token_file is None else {"Authorization": f"Bearer {secret(token_file)}"}
