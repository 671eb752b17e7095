"""People for whom somebody else vouches: an OpenID issuer or a directory. Same rows, same rules.

The account is made at the first sign-in and has the roles that the other side says, each time
anew; whoever is given none there is refused here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.accounts import ForeignAccountRow
from db.engine import now
from db.tables import UserRow
from triage.worklist import accounts, auth
from triage.worklist.auth import NotAccepted

NO_ROLE: Final = "You are known, and have no role here. Ask the administrator."
DISABLED: Final = "This account is disabled. Ask the administrator."
TAKEN: Final = "There is an account of this name that is another's. Ask the administrator."
MOST: Final = 255


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the other side knows."""

    issuer: str
    subject: str
    """Never given to another person there."""
    name: str
    roles: frozenset[str]


def account(session: Session, person: Person) -> UserRow:
    """Give the person's account, made or brought up to date, in the caller's transaction.

    Raises:
        NotAccepted: no role, disabled here, or the name is another's.
    """
    if not person.roles:
        raise NotAccepted(NO_ROLE)
    if not 1 <= len(person.subject) <= MOST:
        raise NotAccepted(TAKEN)
    found = known(session, person)
    if found is None:
        return _made(session, person)
    if found.disabled:
        raise NotAccepted(DISABLED)
    if found.role != auth.checked(person.roles):
        accounts.give_roles(session, found.name, person.roles, actor=person.issuer[: auth.MAX_NAME])
    return found


def known(session: Session, person: Person) -> UserRow | None:
    """Give the person's account if there is one."""
    row = session.scalar(
        select(ForeignAccountRow).where(
            ForeignAccountRow.issuer == person.issuer, ForeignAccountRow.subject == person.subject
        )
    )
    return None if row is None else session.get(UserRow, row.user_id)


def roles_of(words: Iterable[object], mapped: Mapping[str, str]) -> frozenset[str]:
    """Give the roles of what the other side calls somebody; what is not mapped is nothing."""
    return frozenset(mapped[one] for one in words if isinstance(one, str) and one in mapped)


def _made(session: Session, person: Person) -> UserRow:
    if session.scalar(select(UserRow.id).where(UserRow.name == person.name)) is not None:
        raise NotAccepted(TAKEN)
    actor = person.issuer[: auth.MAX_NAME]
    user = auth.create_foreign(session, person.name, " ".join(person.roles), actor=actor)
    row = ForeignAccountRow(
        user_id=user.id, issuer=person.issuer, subject=person.subject, created_at=now(session)
    )
    session.add(row)
    session.flush()
    return user
