"""What an administrator does to an account, and what it does to its sessions."""

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from db.accounts import ForeignAccountRow
from db.engine import Database, now
from db.tables import UserRow
from tests.triage.worklist.client import NAME, PASSWORD, Client
from triage.worklist import accounts, auth
from triage.worklist.auth import NotAccepted

ANOTHER = "another"


@pytest.fixture
def second(app: FastAPI, rows: Database) -> None:
    """A second administrator, so that the first may go."""
    assert app is not None
    with rows.begin() as session:
        auth.create_user(session, ANOTHER, PASSWORD, "admin")


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("deed", ["disable", "role", "password"])
def test_a_kept_cookie_opens_nothing_afterwards(app: FastAPI, rows: Database, deed: str) -> None:
    with Client(app) as client:
        client.sign_in()
        assert client.get("/studies").status_code == 200
        with rows.begin() as session:
            if deed == "disable":
                accounts.disable(session, NAME, actor="x")
                accounts.enable(session, NAME, actor="x")
            elif deed == "role":
                accounts.give_roles(session, NAME, ["radiologist"], actor="x")
            else:
                user = accounts.named(session, NAME)
                accounts.set_password(session, user, "quite another one", actor="x")
        assert client.get("/studies").status_code == 303
        assert client.get("/api/studies").status_code == 401


def test_the_last_administrator_stays(app: FastAPI, rows: Database) -> None:
    assert app is not None
    with pytest.raises(NotAccepted, match="last administrator"), rows.begin() as session:
        accounts.disable(session, NAME, actor="x")
    with pytest.raises(NotAccepted, match="last administrator"), rows.begin() as session:
        accounts.give_roles(session, NAME, ["auditor"], actor="x")
    with rows.reading() as session:
        user = session.scalars(select(UserRow)).one()
        assert (user.role, user.disabled) == ("admin radiologist", False)


def test_a_password_that_is_kept_elsewhere_is_not_set_here(app: FastAPI, rows: Database) -> None:
    assert app is not None
    with rows.begin() as session:
        user = auth.create_foreign(session, "far", "radiologist", actor="x")
        session.add(ForeignAccountRow(
            user_id=user.id, issuer="ldaps://here", subject="far", created_at=now(session)
        ))  # fmt: skip
        with pytest.raises(NotAccepted, match="not kept here"):
            accounts.set_password(session, user, PASSWORD, actor="x")
        assert {one.name: one.vouched_by for one in accounts.listed(session)} == {
            NAME: "password", "far": "ldaps://here",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("roles", "kept"),
    [
        (["radiologist", "admin"], "admin radiologist"),
        (["technologist", "technologist"], "technologist"),
        (["auditor", "radiologist", "technologist"], "auditor radiologist technologist"),
    ],
)
def test_roles_are_kept_in_one_order_and_fit_the_audit_trail(roles: list[str], kept: str) -> None:
    assert auth.checked(roles) == kept
    assert len(kept) <= 32
