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
_MEDIA_TYPES: Final[Mapping[str, str]] = {
    "webhook": "application/json",
    "fhir_bundle": "application/fhir+json",
    "plain_text": "text/plain; charset=utf-8",
    "hl7_oru": "application/hl7-v2; charset=utf-8",
}


def store(document: Document, to: Webhook) -> int:
    """POST the document, signed now; gives the HTTP status.

    Raises:
        InDoubt, TryAgain, Broken: as ``http_post.post``; TryAgain too without a usable secret.
    """
    key = _key(to)
    sent_at = int(time.time())
    headers = {
        "Content-Type": _MEDIA_TYPES[document.kind],
        "webhook-id": identifier(document.content),
        "webhook-timestamp": str(sent_at),
        "webhook-signature": signature(key, sent_at, document.content),
    }
    return post(to, document.content, headers).status_code


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
