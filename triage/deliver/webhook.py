"""To a URL of the site's own: signed as Standard Webhooks has it, so that any library can verify.

``webhook-signature`` is HMAC-SHA256 over id, timestamp and body, with the secret of a file.
``webhook-id`` is the same whenever the same bytes are sent again: receivers go by it.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Final

from triage.deliver.credentials import secret
from triage.deliver.http_post import post
from triage.destinations import Webhook
from triage.errors import TryAgain
from triage.finding import Document

PREFIX: Final = "whsec_"
"""Of a secret in base64; any other text is taken as it stands."""
MIN_SECRET_BYTES: Final = 24
_MEDIA_TYPES: Final[Mapping[bytes, str]] = {
    b"MSH|": "application/hl7-v2; charset=utf-8",
    b'{"resourceType"': "application/fhir+json",
    b"{": "application/json",
}
"""By how the document begins."""


def store(document: Document, to: Webhook) -> int:
    """POST the document, signed now; gives the HTTP status.

    Raises:
        InDoubt, TryAgain, Broken: as ``http_post.post``; TryAgain too without a usable secret.
    """
    key = _key(to)
    sent_at = int(time.time())
    headers = {
        "Content-Type": media_type(document.content),
        "webhook-id": identifier(document.content),
        "webhook-timestamp": str(sent_at),
        "webhook-signature": signature(key, sent_at, document.content),
    }
    return post(to, document.content, headers).status_code


def media_type(content: bytes) -> str:
    """Give the Content-Type of one of our documents."""
    kinds = (kind for start, kind in _MEDIA_TYPES.items() if content.startswith(start))
    return next(kinds, "text/plain; charset=utf-8")


def identifier(content: bytes) -> str:
    """Give the id of the bytes: 128 bits of their hash."""
    return f"msg_{hashlib.sha256(content).hexdigest()[:32]}"


def signature(key: bytes, sent_at: int, content: bytes) -> str:
    """Sign the id, the time in seconds since 1970 and the body."""
    signed = b".".join((identifier(content).encode(), str(sent_at).encode(), content))
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key(to: Webhook) -> bytes:
    text = secret(to.secret_file)
    try:
        coded = text.removeprefix(PREFIX)
        key = base64.b64decode(coded, validate=True) if coded != text else text.encode()
    except binascii.Error:
        msg = f"{to.secret_file}: what follows {PREFIX} is no base64"
        raise TryAgain(msg) from None
    if len(key) < MIN_SECRET_BYTES:
        msg = f"{to.secret_file} holds fewer than {MIN_SECRET_BYTES} bytes; make a longer secret"
        raise TryAgain(msg)
    return key
