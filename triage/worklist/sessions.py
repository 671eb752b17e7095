"""Signing in and out: sessions on the server, the cookie's token kept only as its hash.

Every sign-in, every refusal and every sign-out is audited in its own transaction.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from sqlalchemy import Connection, bindparam, delete, or_, select
from sqlalchemy.orm import Session

from db.accounts import HalfwayRow
from db.audit import MINOR, SUCCESS, Entry, Event, record
from db.engine import Database, now
from db.tables import SessionRow, UserRow
from triage.settings import Web
from triage.worklist import passwords
from triage.worklist.factor import accepts, has

TOKEN_BYTES: Final = 32
FREE_FAILURES: Final = 3
"""Wrong passwords before each further one costs time."""
LOCK_AFTER: Final = 10
LOCK: Final = timedelta(minutes=15)
HALFWAY: Final = timedelta(minutes=5)
"""For the second step of a sign-in."""
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Passed:
    """What a right password opens."""

    token: str
    """Of the session; with ``needs`` "code" of the sign-in that goes on."""
    needs: Literal["", "code", "enrolment"] = ""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is signed in on this request."""

    user_id: int
    name: str
    role: str
    csrf_token: str
    token_sha256: str
    idle: timedelta
    """Since the last request that a person made."""
    emergency: int = 0
    """Number of the opening by which this study is seen; 0 where the role opens it."""

    scopes: frozenset[str] | None = None
    """Of a program's token; None for a person."""

    address: str = ""
    """Where the request comes from."""

    @property
    def roles(self) -> frozenset[str]:
        """Give the roles, of which ``role`` is the text."""
        return frozenset(self.role.split())


def sign_in(database: Database, web: Web, name: str, password: str, address: str) -> Passed | None:
    """Check a password; gives what it opens: a session, or the question for a code. None refuses.

    An unknown name, a wrong password and a locked account cost the same time and look the same.
    """
    with database.reading() as session:
        user = session.scalar(select(UserRow).where(UserRow.name == name.strip()))
    right, renewed = passwords.verify(password, user.password_hash if user else None)
    with database.begin() as session:
        user = user and locked(session, user.id)
        if user is None or not admit(session, user, right=right, address=address):
            refused(session, user, address)
            return None
        user.password_hash = renewed or user.password_hash
        return passed(session, web, user, address)


def passed(
    session: Session, web: Web, user: UserRow, address: str, *, strong: bool = False
) -> Passed:
    """Give what the first step opens to a user whose identity is established by it.

    ``strong`` says that whoever established it asked for two factors already.
    """
    if not strong and has(session, user.id):
        return Passed(halfway(session, HalfwayRow(user_id=user.id)), "code")
    if not strong and not set(web.accounts.second_factor_for).isdisjoint(user.role.split()):
        refused(session, user, address)
        return Passed("", "enrolment")
    return Passed(enter(session, web, user, address))


def enter(session: Session, web: Web, user: UserRow, address: str) -> str:
    """Open the session at the end of every way in, audited; gives its token."""
    user.failed_logins, user.locked_until = 0, None
    _forget_expired(session, web)
    token = open_session(session, user)
    _audit(session, "login", user, address=address)
    return token


def halfway(session: Session, row: HalfwayRow) -> str:
    """Keep a sign-in that is between two steps; gives the token that goes on with it."""
    token, at = secrets.token_urlsafe(TOKEN_BYTES), now(session)
    session.execute(delete(HalfwayRow).where(HalfwayRow.created_at < at - HALFWAY))
    row.token_sha256, row.created_at = _digest(token), at
    session.add(row)
    return token


def waiting(session: Session, token: str) -> HalfwayRow | None:
    """Give the sign-in that a token goes on with; None once its time is over."""
    row = session.get(HalfwayRow, _digest(token)) if token else None
    return row if row is not None and now(session) - row.created_at <= HALFWAY else None


def second_step(
    database: Database, web: Web, site_key: bytes, token: str, code: str, address: str
) -> str | None:
    """Check a code after the password; gives the session's token, or None.

    Wrong codes count like wrong passwords, and lock the account like them.
    """
    with database.begin() as session:
        row = waiting(session, token)
        user = locked(session, row.user_id) if row is not None and row.user_id else None
        if row is None or user is None:
            return None
        right = accepts(session, site_key, user, code)
        if not admit(session, user, right=right, address=address):
            refused(session, user, address)
            return None
        session.delete(row)
        return enter(session, web, user, address)


def locked(session: Session, user_id: int) -> UserRow | None:
    """Give an account as it is now, locked against changes by others."""
    return session.scalar(
        select(UserRow).where(UserRow.id == user_id).with_for_update()
        .execution_options(populate_existing=True)
    )  # fmt: skip


def refused(session: Session, user: UserRow | None, address: str) -> None:
    """Note a sign-in that came to nothing."""
    _audit(session, "login.refused", user, address=address, outcome=MINOR)


def open_session(session: Session, user: UserRow) -> str:
    """Open a session for a user whose identity is established; gives its token."""
    token, at = secrets.token_urlsafe(TOKEN_BYTES), now(session)
    session.add(
        SessionRow(
            token_sha256=_digest(token),
            user_id=user.id,
            csrf_token=secrets.token_urlsafe(TOKEN_BYTES),
            created_at=at,
            last_seen_at=at,
        )
    )
    return token


HOLDER: Final = (
    select(
        SessionRow.token_sha256, SessionRow.csrf_token, SessionRow.created_at,
        SessionRow.last_seen_at, UserRow.id, UserRow.name, UserRow.role,
    )
    .join(UserRow, UserRow.id == SessionRow.user_id)
    .where(SessionRow.token_sha256 == bindparam("token"), UserRow.disabled.is_(False))
)  # fmt: skip
"""Asked for at every request."""


def find(session: Session | Connection, web: Web, token: str) -> Viewer | None:
    """Give who holds this token; None when the session ended, by age, idleness or a person."""
    held = session.execute(HOLDER, {"token": _digest(token)}).one_or_none()
    if held is None:
        return None
    at = now(session)
    idle, age = at - held.last_seen_at, at - held.created_at
    if idle.total_seconds() > web.session_idle_s or age.total_seconds() > web.session_absolute_s:
        return None
    return Viewer(held.id, held.name, held.role, held.csrf_token, held.token_sha256, idle)


def touch(session: Session, viewer: Viewer) -> None:
    """Note that the person did something."""
    row = session.get(SessionRow, viewer.token_sha256)
    if row is not None:
        row.last_seen_at = now(session)


def sign_out(session: Session, viewer: Viewer, address: str) -> None:
    """End the session."""
    session.execute(delete(SessionRow).where(SessionRow.token_sha256 == viewer.token_sha256))
    _audit(session, "logout", session.get(UserRow, viewer.user_id), address=address)


def admit(session: Session, user: UserRow, *, right: bool, address: str) -> bool:
    """Count a wrong word, and tell whether a right one opens: not while locked or disabled."""
    at = now(session)
    if not right:
        user.failed_logins += 1
        user.locked_until = max(user.locked_until or at, at + _penalty(user.failed_logins))
        if user.failed_logins == LOCK_AFTER:
            _audit(
                session, "user.locked", user, address=address, outcome=MINOR,
                event=Event.SECURITY_ALERT,
            )  # fmt: skip
        return False
    return not user.disabled and (user.locked_until is None or user.locked_until <= at)


def _penalty(failures: int) -> timedelta:
    if failures < FREE_FAILURES:
        return timedelta(0)
    return LOCK if failures >= LOCK_AFTER else timedelta(seconds=2 ** (failures - FREE_FAILURES))


def _forget_expired(session: Session, web: Web) -> None:
    at = now(session)
    session.execute(
        delete(SessionRow).where(
            or_(
                SessionRow.last_seen_at < at - timedelta(seconds=web.session_idle_s),
                SessionRow.created_at < at - timedelta(seconds=web.session_absolute_s),
            )
        )
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _audit(
    session: Session,
    kind: str,
    user: UserRow | None,
    *,
    address: str,
    outcome: int = SUCCESS,
    event: Event = Event.USER_AUTHENTICATION,
) -> None:
    entry = Entry(
        event=event, kind=kind, outcome=outcome, network_address=address, object_type="user",
        actor=user.name if user else UNKNOWN, actor_role=user.role if user else "",
        object_id=str(user.id) if user else "",
    )  # fmt: skip
    record(session, entry)
