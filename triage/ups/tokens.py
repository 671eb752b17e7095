"""Tokens of programs: made once, shown once, kept as a hash, ended by time or by name.

One kind for every service: its words (scopes) say what it opens.
"""

import hashlib
import secrets
from collections.abc import Collection
from datetime import timedelta
from typing import Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from db.audit import Entry, Event, record
from db.engine import Database, now
from db.ups import TokenRow
from triage.errors import TriageError
from triage.ups.rows import Asker
from triage.workflow import EVERY_ROLE

TOKEN_BYTES: Final = 32
MAX_NAME: Final = 64
WORKLIST: Final = "worklist"
SCOPES: Final = frozenset((*EVERY_ROLE, "sender", "reader", WORKLIST))
"""What a token may open: work items, STOW-RS, QIDO-RS and WADO-RS, the list as JSON."""


class BadToken(TriageError):
    """There is none of that name, or one already."""


def add(
    session: Session,
    name: str,
    roles: Collection[str],
    *,
    actor: str,
    lasts: timedelta | None = None,
) -> str:
    """Make a program's token and give it: nobody can read it again.

    Raises:
        BadToken: the name is taken or malformed, or a word is none of SCOPES.
    """
    unknown = set(roles) - SCOPES
    if unknown or not roles:
        msg = f"a token's scopes are one or several of {', '.join(sorted(SCOPES))}"
        raise BadToken(msg)
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        msg = f"a name has 1 to {MAX_NAME} printable characters"
        raise BadToken(msg)
    if session.scalar(select(TokenRow.id).where(TokenRow.name == name)) is not None:
        msg = f"there is a token {name} already; revoke it and take another name"
        raise BadToken(msg)
    token, at = secrets.token_urlsafe(TOKEN_BYTES), now(session)
    session.add(
        TokenRow(
            name=name, token_sha256=_digest(token), roles=" ".join(sorted(roles)),
            created_at=at, expires_at=at + lasts if lasts else None,
        )
    )  # fmt: skip
    _audit(session, "token.created", name, actor, {"roles": sorted(roles)})
    return token


def revoke(session: Session, name: str, *, actor: str) -> None:
    """End a token.

    Raises:
        BadToken: there is none of that name.
    """
    row = session.scalar(select(TokenRow).where(TokenRow.name == name))
    if row is None:
        msg = f"there is no token {name}; `triage token ls` lists them"
        raise BadToken(msg)
    row.revoked_at = row.revoked_at or now(session)
    _audit(session, "token.revoked", name, actor, {})


def known(session: Session) -> list[TokenRow]:
    """Give every token there was, by name."""
    return list(session.scalars(select(TokenRow).order_by(TokenRow.name)))


def bearer(database: Database, header: str, address: str) -> Asker | None:
    """Give who a request's Authorization header names; None for nobody we know."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return None
    with database.reading() as session:
        return holder(session, token.strip(), address)


def holder(session: Session, token: str, address: str) -> Asker | None:
    """Give who holds a token; None when it is none of ours, or ended."""
    row = session.scalar(
        select(TokenRow).where(
            TokenRow.token_sha256 == _digest(token),
            TokenRow.revoked_at.is_(None),
            or_(TokenRow.expires_at.is_(None), TokenRow.expires_at > now(session)),
        )
    )
    if row is None:
        return None
    return Asker(row.name, frozenset(row.roles.split()), address=address)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _audit(
    session: Session, kind: str, name: str, actor: str, detail: dict[str, list[str]]
) -> None:
    entry = Entry(
        event=Event.SECURITY_ALERT, kind=kind, action="C" if detail else "U", actor=actor,
        object_type="token", object_id=name, detail=detail,
    )  # fmt: skip
    record(session, entry)
