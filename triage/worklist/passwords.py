"""Passwords: argon2id with 19 MiB, two passes and one lane (RFC 9106; OWASP's minimum)."""

import secrets
from functools import cache
from threading import BoundedSemaphore
from typing import Final

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

MAX_PASSWORD: Final = 256
_HASHER: Final = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19_456, parallelism=1),))
_AT_ONCE: Final = BoundedSemaphore(4)
"""Password checks at the same time: a flood of logins must not take the memory."""


def digest(password: str) -> str:
    """Give the text to keep instead of a password."""
    return _HASHER.hash(password)


def verify(password: str, kept: str | None) -> tuple[bool, str | None]:
    """Check a password; gives whether it is right, and a better text to keep if there is one.

    With nothing to check against (an unknown name) it is wrong, after the same time.
    """
    with _AT_ONCE:
        return _HASHER.verify_and_update(password[:MAX_PASSWORD], kept or _nobodys())


@cache
def _nobodys() -> str:
    return _HASHER.hash(secrets.token_urlsafe())
