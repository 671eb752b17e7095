"""The account's own page, and the second step of the sign-in."""

import re

import pyotp
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from db.engine import Database, now
from db.tables import SessionRow, UserRow
from tests.triage.worklist.client import NAME, PASSWORD, Client
from tests.triage.worklist.conftest import audited
from triage.accounts import Accounts
from triage.settings import Settings
from triage.worklist import factor, sessions
from triage.worklist.app import create_app

NEW = "another long password"


def change(client: Client, present: str = PASSWORD, new: str = NEW, again: str = NEW) -> int:
    form = {"csrf_token": client.csrf(), "present": present, "new": new, "again": again}
    return client.post("/account/password", form).status_code


def opened(rows: Database) -> int:
    with rows.reading() as session:
        return len(session.scalars(select(SessionRow)).all())


def given(rows: Database, settings: Settings) -> pyotp.TOTP:
    """Give the account a second factor that counts."""
    with rows.begin() as session:
        user = session.scalars(select(UserRow)).one()
        secret = factor.begin(session, factor.key(settings), user)
        factor.give(session, user, actor="test")
    return pyotp.TOTP(secret)


def code(rows: Database, totp: pyotp.TOTP) -> str:
    with rows.reading() as session:
        return totp.at(now(session))


def second_step(client: Client, code: str) -> int:
    page = client.sign_in()
    token = re.search(r'name="csrf_token" value="([^"]*)"', page.text)
    assert token is not None
    assert page.status_code == 401
    assert "triage" not in client.cookies
    return client.post("/login/code", {"code": code, "csrf_token": token[1]}).status_code


class TestThePassword:
    def test_a_new_one_ends_every_other_session_and_renews_this_one(
        self, app: FastAPI, client: Client, rows: Database
    ) -> None:
        before = client.cookies["triage"]
        with Client(app) as other:
            other.sign_in()
            assert opened(rows) == 2
            assert change(client) == 303
            assert other.get("/studies").status_code == 303
        assert client.cookies["triage"] != before
        assert client.get("/account").status_code == 200
        client.cookies.set("triage", before, domain="triage.test")
        assert client.get("/account").status_code == 303
        assert client.sign_in(NAME, PASSWORD).status_code == 401
        assert client.sign_in(NAME, NEW).status_code == 303
        (entry,) = audited(rows, "password.changed")
        assert (entry.actor, entry.event_id) == (NAME, "110113")

    @pytest.mark.parametrize(
        ("present", "new", "again"),
        [("wrong", NEW, NEW), (PASSWORD, NEW, "different"), (PASSWORD, "short", "short")],
    )
    def test_a_wrong_or_a_weak_one_changes_nothing(
        self, client: Client, rows: Database, present: str, new: str, again: str
    ) -> None:
        assert change(client, present, new, again) == 400
        assert opened(rows) == 1
        assert audited(rows, "password.changed") == []
        assert client.sign_in(NAME, PASSWORD).status_code == 303

    def test_guessing_the_present_one_locks_the_account(
        self, client: Client, rows: Database
    ) -> None:
        for _ in range(10):
            assert change(client, "a guess") == 400
        assert len(audited(rows, "user.locked")) == 1
        assert change(client) == 400


class TestTheSecondFactor:
    def test_it_is_added_with_a_drawing_and_a_code_and_asked_for_from_then_on(
        self, client: Client, rows: Database
    ) -> None:
        client.post("/account/factor", {"csrf_token": client.csrf()})
        page = client.get("/account").text
        assert "<svg" in page
        secret = re.search(r"<code>([A-Z2-7]{32})</code>", page)
        assert secret is not None
        totp = pyotp.TOTP(secret[1])
        form = {"csrf_token": client.csrf(), "code": code(rows, totp)}
        recovery = re.findall(
            r"<code>([a-z2-7-]{19})</code>", client.post("/account/factor/confirm", form).text
        )
        assert len(recovery) == factor.RECOVERY_CODES
        assert secret[1] not in client.get("/account").text
        client.cookies.clear()
        assert second_step(client, recovery[0]) == 303
        assert client.get("/studies").status_code == 200

    def test_a_password_alone_opens_nothing(
        self, anonymous: Client, rows: Database, settings: Settings
    ) -> None:
        given(rows, settings)
        assert anonymous.sign_in().status_code == 401
        assert anonymous.get("/studies").status_code == 303
        assert opened(rows) == 0
        assert audited(rows, "login") == []

    def test_a_code_opens_once(self, anonymous: Client, rows: Database, settings: Settings) -> None:
        shown = code(rows, given(rows, settings))
        assert second_step(anonymous, shown) == 303
        assert anonymous.get("/studies").status_code == 200
        anonymous.cookies.clear()
        assert second_step(anonymous, shown) == 401
        assert len(audited(rows, "login")) == 1

    def test_a_code_without_a_password_opens_nothing(
        self, anonymous: Client, rows: Database, settings: Settings
    ) -> None:
        shown = code(rows, given(rows, settings))
        form = {"code": shown, "csrf_token": anonymous.hidden("/login", "csrf_token")}
        assert anonymous.post("/login/code", form).status_code == 401
        assert opened(rows) == 0

    def test_wrong_codes_lock_the_account_whatever_passwords_come_between(
        self, rows: Database, app: FastAPI, settings: Settings
    ) -> None:
        assert app is not None
        totp, web, key = given(rows, settings), settings.site.web, factor.key(settings)
        token = ""
        for _ in range(10):
            with rows.begin() as session:
                session.scalars(select(UserRow)).one().locked_until = None
            half = sessions.sign_in(rows, web, NAME, PASSWORD, "")
            assert half is not None
            assert half.needs == "code"
            token = half.token
            assert sessions.second_step(rows, web, key, token, "no code", "") is None
        assert len(audited(rows, "user.locked")) == 1
        assert sessions.second_step(rows, web, key, token, code(rows, totp), "") is None
        assert sessions.sign_in(rows, web, NAME, PASSWORD, "") is None

    def test_the_second_step_has_its_time(
        self, rows: Database, app: FastAPI, settings: Settings
    ) -> None:
        from db.accounts import HalfwayRow

        assert app is not None
        totp, web = given(rows, settings), settings.site.web
        half = sessions.sign_in(rows, web, NAME, PASSWORD, "")
        assert half is not None
        with rows.begin() as session:
            session.scalars(select(HalfwayRow)).one().created_at -= 2 * sessions.HALFWAY
        shown = code(rows, totp)
        key = factor.key(settings)
        assert sessions.second_step(rows, web, key, half.token, shown, "") is None

    def test_it_is_removed_for_a_code_alone(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        totp = given(rows, settings)
        form = {"csrf_token": client.csrf(), "code": "000"}
        assert client.post("/account/factor/remove", form).status_code == 400
        form["code"] = code(rows, totp)
        assert client.post("/account/factor/remove", form).status_code == 303
        client.cookies.clear()
        assert client.sign_in().status_code == 303


class TestARoleThatNeedsOne:
    @pytest.fixture
    def strict(self, app: FastAPI, settings: Settings) -> Settings:
        """Admins do not get in without a second factor."""
        assert app is not None
        web = settings.site.web.model_copy(
            update={"accounts": Accounts(second_factor_for=("admin",))}
        )
        site = settings.site.model_copy(update={"web": web})
        return settings.model_copy(update={"site": site})

    def test_an_admin_without_one_is_told_what_to_ask_for_and_let_in_nowhere(
        self, strict: Settings, rows: Database
    ) -> None:
        app = create_app(strict)
        with Client(app) as client:
            answer = client.sign_in()
            assert answer.status_code == 401
            assert "triage user factor" in answer.text
            assert opened(rows) == 0
            totp = given(rows, strict)
            assert second_step(client, code(rows, totp)) == 303
            form = {"csrf_token": client.csrf(), "code": totp.at(0)}
            answer = client.post("/account/factor/remove", form)
            assert "needs a second factor" in answer.text
        app.state.context.database.dispose()

    def test_others_are_asked_for_none(self, strict: Settings, rows: Database) -> None:
        with rows.begin() as session:
            session.scalars(select(UserRow)).one().role = "radiologist"
        found = sessions.sign_in(rows, strict.site.web, NAME, PASSWORD, "")
        assert found is not None
        assert not found.needs
