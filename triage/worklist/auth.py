"""Accounts, and the one-time token that makes the first administrator.

There is no default account and no default password. Every effect is audited in its transaction.
"""

import os
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import Entry, Event, record
from db.engine import Database, now
from db.tables import UserRow
from triage.errors import TriageError
from triage.settings import Settings
from triage.worklist import passwords
from triage.worklist.access import PEOPLE, Role

ADMIN: Final = Role.ADMIN
TOKEN_BYTES: Final = 32
MIN_PASSWORD: Final = 12
MAX_NAME: Final = 64


class NotAccepted(TriageError):
    """The person must type something else. The message tells what, without repeating it."""


def create_user(
    session: Session, name: str, password: str, role: str, *, actor: str = "console"
) -> UserRow:
    """Make an account, audited, in the caller's transaction; ``role`` holds one or several.

    Raises:
        NotAccepted: the name is taken or malformed, the password is too short or too long, or
            there is no such role.
    """
    name, role = name.strip(), checked(role.split())
    check(name, password)
    digest = passwords.digest(password)
    return _keep(session, name, digest, role, actor)


def create_foreign(session: Session, name: str, role: str, *, actor: str) -> UserRow:
    """Make an account that has no password here: nobody signs in to it with one.

    Raises:
        NotAccepted: the name is taken or malformed, or there is no such role.
    """
    check_name(name)
    return _keep(session, name, "", checked(role.split()), actor)


def _keep(session: Session, name: str, digest: str, role: str, actor: str) -> UserRow:
    if session.scalar(select(UserRow.id).where(UserRow.name == name)) is not None:
        msg = "There is already an account with this name."
        raise NotAccepted(msg)
    user = UserRow(name=name, password_hash=digest, role=role, created_at=now(session))
    session.add(user)
    session.flush()
    entry = Entry(
        event=Event.SECURITY_ALERT, kind="user.created", action="C", actor=actor,
        object_type="user", object_id=str(user.id), detail={"role": role},
    )  # fmt: skip
    record(session, entry)
    return user


def has_users(session: Session) -> bool:
    """Tell whether anybody has an account."""
    return session.scalar(select(UserRow.id).limit(1)) is not None


def setup_token(settings: Settings) -> str:
    """Give the one-time token for the first account, made on the first call; mode 0600."""
    path = _token_path(settings)
    settings.secrets.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token)
    return token


def first_sign_in_url(settings: Settings, database: Database, base_url: str) -> str | None:
    """Give where the first administrator makes an account; None once there is one."""
    with database.reading() as session:
        if has_users(session):
            return None
    return f"{base_url.rstrip('/')}/setup?token={setup_token(settings)}"


def opens_setup(settings: Settings, session: Session, token: str) -> bool:
    """Tell whether this token may make the first account now."""
    path = _token_path(settings)
    if has_users(session) or not path.is_file():
        return False
    expected = path.read_text(encoding="ascii").strip()
    return bool(expected) and secrets.compare_digest(expected.encode(), token.encode())


def set_up(
    settings: Settings, session: Session, token: str, name: str, password: str, *,
    reads: bool = False,
) -> UserRow:  # fmt: skip
    """Use the token up and make the first administrator, who ``reads`` studies too, or not.

    Raises:
        NotAccepted: the token is not the one, or name or password are refused.
    """
    if not opens_setup(settings, session, token):
        msg = "This link was used already, or is not the one on the console."
        raise NotAccepted(msg)
    role = f"{ADMIN} {Role.RADIOLOGIST}" if reads else ADMIN
    user = create_user(session, name, password, role, actor="setup")
    try:
        _token_path(settings).unlink()  # of two that come at once, one finds it gone
    except FileNotFoundError:
        msg = "This link was used already."
        raise NotAccepted(msg) from None
    return user


def checked(roles: Collection[str]) -> str:
    """Give the text that keeps roles, in one order.

    Raises:
        NotAccepted: there is none, one is unknown or a program's, or an admin would audit himself.
    """
    unknown = set(roles) - PEOPLE
    if unknown or not roles:
        msg = f"The roles of people are {', '.join(sorted(PEOPLE))}; an account has one or more."
        raise NotAccepted(msg)
    if {Role.ADMIN, Role.AUDITOR} <= set(roles):
        msg = "Whoever audits the admins is none of them: make two accounts."
        raise NotAccepted(msg)
    return " ".join(sorted(set(roles)))


def check_name(name: str) -> None:
    """Refuse a name that cannot be shown.

    Raises:
        NotAccepted: it is empty, too long, or holds what does not print.
    """
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        msg = f"A name has 1 to {MAX_NAME} printable characters."
        raise NotAccepted(msg)


def check(name: str, password: str) -> None:
    """Refuse a name or a password that no account may have.

    Raises:
        NotAccepted: with what to type instead.
    """
    check_name(name)
    if not MIN_PASSWORD <= len(password) <= passwords.MAX_PASSWORD:
        msg = f"A password has {MIN_PASSWORD} to {passwords.MAX_PASSWORD} characters."
        raise NotAccepted(msg)
    if name.casefold() == password.casefold():
        msg = "The password must not be the name."
        raise NotAccepted(msg)


def _token_path(settings: Settings) -> Path:
    return settings.secrets / "setup-token"
