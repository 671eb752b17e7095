"""Accounts as an administrator changes them: roles, password, lock, end. Each change is audited.

Whatever changes what an account may do ends its sessions: the next request signs in again, under a
new token.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.accounts import ForeignAccountRow, SecondFactorRow
from db.audit import Entry, Event, record
from db.engine import now
from db.tables import SessionRow, UserRow
from triage.worklist import auth, passwords
from triage.worklist.access import Role
from triage.worklist.auth import NotAccepted

HERE: Final = "password"
"""Who vouches for an account that has its password here."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account as it is listed. No secret."""

    name: str
    roles: str
    vouched_by: str
    """``password``, or the issuer or directory."""
    second_factor: bool
    disabled: bool
    locked_until: datetime | None
    created_at: datetime


def listed(session: Session) -> list[Account]:
    """Give every account by name."""
    rows = session.execute(
        select(UserRow, SecondFactorRow.confirmed_at, ForeignAccountRow.issuer)
        .outerjoin(SecondFactorRow, SecondFactorRow.user_id == UserRow.id)
        .outerjoin(ForeignAccountRow, ForeignAccountRow.user_id == UserRow.id)
        .order_by(UserRow.name)
    )
    at = now(session)
    return [
        Account(
            user.name, user.role, issuer or HERE, confirmed is not None, user.disabled,
            user.locked_until if user.locked_until and user.locked_until > at else None,
            user.created_at,
        )
        for user, confirmed, issuer in rows
    ]  # fmt: skip


def named(session: Session, name: str) -> UserRow:
    """Give an account, locked against changes by others.

    Raises:
        NotAccepted: there is none.
    """
    found = session.scalar(select(UserRow).where(UserRow.name == name).with_for_update())
    if found is None:
        msg = "There is no account of this name; `triage user ls` lists them."
        raise NotAccepted(msg)
    return found


def give_roles(session: Session, name: str, roles: Collection[str], *, actor: str) -> None:
    """Give an account these roles and no other.

    Raises:
        NotAccepted: there is no such account or role, two of them never meet, or no
            administrator would be left.
    """
    user = named(session, name)
    before, user.role = user.role, auth.checked(roles)
    _keep_an_admin(session)
    end_sessions(session, user)
    _audit(session, "role.changed", user, actor, {"before": before, "after": user.role})


def disable(session: Session, name: str, *, actor: str) -> None:
    """End an account's access at once; its words and its rows stay.

    Raises:
        NotAccepted: there is none, or no administrator would be left.
    """
    user = named(session, name)
    user.disabled = True
    _keep_an_admin(session)
    end_sessions(session, user)
    _audit(session, "user.disabled", user, actor)


def enable(session: Session, name: str, *, actor: str) -> None:
    """Let an account in again.

    Raises:
        NotAccepted: there is none.
    """
    user = named(session, name)
    user.disabled, user.failed_logins, user.locked_until = False, 0, None
    _audit(session, "user.enabled", user, actor)


def unlock(session: Session, name: str, *, actor: str) -> None:
    """Forget an account's wrong passwords and the lock that they brought.

    Raises:
        NotAccepted: there is none.
    """
    user = named(session, name)
    user.failed_logins, user.locked_until = 0, None
    _audit(session, "user.unlocked", user, actor)


def set_password(
    session: Session, user: UserRow, password: str, *, actor: str, address: str = ""
) -> None:
    """Give an account a new password, and end its sessions.

    Raises:
        NotAccepted: the password is refused, or is kept elsewhere.
    """
    if vouched_elsewhere(session, user):
        msg = "This account's password is not kept here: change it where it is."
        raise NotAccepted(msg)
    auth.check(user.name, password)
    user.password_hash = passwords.digest(password)
    end_sessions(session, user)
    _audit(session, "password.changed", user, actor, address=address)


def vouched_elsewhere(session: Session, user: UserRow) -> bool:
    """Tell whether an issuer or a directory knows the person, and no password here."""
    return session.get(ForeignAccountRow, user.id) is not None


def end_sessions(session: Session, user: UserRow) -> None:
    """End every session of an account."""
    session.execute(delete(SessionRow).where(SessionRow.user_id == user.id))


def _keep_an_admin(session: Session) -> None:
    """Refuse to leave an installation that nobody can administer."""
    session.flush()
    left = session.execute(select(UserRow.role).where(UserRow.disabled.is_(False)))
    if not any(Role.ADMIN in role.split() for (role,) in left):
        msg = "This is the last administrator; give another account the role first."
        raise NotAccepted(msg)


def _audit(
    session: Session, kind: str, user: UserRow, actor: str, detail: dict[str, str] | None = None,
    *, address: str = "",
) -> None:  # fmt: skip
    entry = Entry(
        event=Event.SECURITY_ALERT, kind=kind, action="U", actor=actor, object_type="user",
        object_id=str(user.id), network_address=address, detail=detail,
    )  # fmt: skip
    record(session, entry)
