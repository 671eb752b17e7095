"""Who asks: a program with a token, or a person who is signed in. Nobody else gets an answer.

A program says its token as a bearer, or as the password of HTTP Basic with its name as the user,
which is all that some senders know.
"""

import base64
import binascii
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final, Literal

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from db.engine import Database
from triage.errors import TriageError
from triage.ups import tokens

Role = Literal["sender", "reader"]
ROLES: Final[tuple[Role, ...]] = ("sender", "reader")
"""What a token may do: store by STOW-RS; query and retrieve."""
KEPT: Final = 1_000
UNKNOWN: Final = "A token is needed: Authorization: Bearer, or Basic with the token as password."


class Denied(TriageError):
    """Nobody we know (401), or not for this role (403)."""

    def __init__(self, status: int, why: str, who: "Visitor | None" = None) -> None:
        super().__init__(why)
        self.status = status
        self.who = who


class Away(TriageError):
    """The database is away, and nothing is remembered of this token."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks."""

    name: str
    roles: frozenset[str]
    address: str
    role: str
    """For the audit trail: "program", or the account's."""
    emergency: int = 0
    """By which opening in an emergency this request is let in, where no role lets it in."""


SessionOf = Callable[[Request], Visitor | None]


class Doorkeeper:
    """Lets requests in by token, or by session where there are sessions.

    While the database is away, a token that was good within ``remember_s`` is still good: a
    sender is then served as the listener serves one, which needs no database either. Whenever the
    database answers, its word counts.
    """

    def __init__(
        self, database: Database, *, remember_s: float = 0.0, session_of: SessionOf | None = None
    ) -> None:
        self._database = database
        self._remember_s = remember_s
        self._session_of = session_of
        self._good: dict[str, tuple[Visitor, float]] = {}
        self._lock = Lock()

    def admit(self, request: Request, role: Role) -> Visitor:
        """Give who asks.

        Raises:
            Denied: 401 or 403.
            Away: nobody can tell now.
        """
        found = self._find(request)
        if found is None:
            raise Denied(401, UNKNOWN)
        if role not in found.roles:
            raise Denied(403, f"This takes the role {role}.", found)
        return found

    def _find(self, request: Request) -> Visitor | None:
        token = _token(request.headers.get("authorization", ""))
        address = request.client.host if request.client else ""
        if not token:
            return self._session_of(request) if self._session_of else None
        key = hashlib.sha256(token.encode()).hexdigest()
        try:
            with self._database.reading() as session:
                asker = tokens.holder(session, token, address)
        except SQLAlchemyError:
            return self._remembered(key, address)
        if asker is None:
            with self._lock:
                self._good.pop(key, None)
            return None
        visitor = Visitor(asker.name, asker.roles, address, "program")
        with self._lock:
            if len(self._good) >= KEPT:
                self._good.clear()
            self._good[key] = visitor, time.monotonic()
        return visitor

    def _remembered(self, key: str, address: str) -> Visitor:
        with self._lock:
            visitor, at = self._good.get(key, (None, 0.0))
        if visitor is None or time.monotonic() - at > self._remember_s:
            msg = "The database is away."
            raise Away(msg)
        return Visitor(visitor.name, visitor.roles, address, visitor.role)


def _token(header: str) -> str:
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
