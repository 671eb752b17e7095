from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from db.engine import Database, now
from db.tables import SessionRow, UserRow
from tests.triage.worklist.client import NAME, PASSWORD, Client
from tests.triage.worklist.conftest import ROLES, audited
from triage.settings import Settings, Web
from triage.worklist import sessions

WRONG = "not the password"
WEB = Web()


def attempts(rows: Database, count: int, password: str = WRONG) -> list[sessions.Passed | None]:
    return [sessions.sign_in(rows, WEB, NAME, password, "10.0.0.7") for _ in range(count)]


def unlock(rows: Database) -> None:
    """Let the lock's time pass."""
    with rows.begin() as session:
        user = session.scalars(select(UserRow)).one()
        user.locked_until = now(session) - timedelta(seconds=1)


def age(rows: Database, **by: timedelta) -> None:
    """Let time pass for the one session: since it was seen, or since it was made."""
    with rows.begin() as session:
        held = session.scalars(select(SessionRow)).one()
        held.last_seen_at -= by.get("seen", timedelta(0))
        held.created_at -= by.get("made", timedelta(0))


@pytest.mark.usefixtures("app")
class TestSigningIn:
    def test_the_right_password_opens_a_session_and_is_audited(self, rows: Database) -> None:
        opened = sessions.sign_in(rows, WEB, NAME, PASSWORD, "10.0.0.7")
        assert opened is not None
        with rows.reading() as session:
            who = sessions.find(session, WEB, opened.token)
        assert who is not None
        assert (who.name, who.role) == (NAME, ROLES)
        (entry,) = audited(rows, "login")
        assert (entry.event_id, entry.actor, entry.network_address) == (
            "110114", NAME, "10.0.0.7",
        )  # fmt: skip

    def test_the_token_is_kept_only_as_its_hash(self, rows: Database) -> None:
        opened = sessions.sign_in(rows, WEB, NAME, PASSWORD, "")
        assert opened is not None
        token = opened.token
        assert len(token) >= 43
        with rows.reading() as session:
            held = session.scalars(select(SessionRow)).one()
        assert token not in {held.token_sha256, held.csrf_token}

    def test_a_wrong_password_is_refused_and_audited(self, rows: Database) -> None:
        assert attempts(rows, 1) == [None]
        (entry,) = audited(rows, "login.refused")
        assert (entry.event_id, entry.outcome, entry.actor) == ("110114", 4, NAME)

    def test_an_unknown_name_is_refused_without_being_written_down(self, rows: Database) -> None:
        assert sessions.sign_in(rows, WEB, "my secret typed here", WRONG, "") is None
        (entry,) = audited(rows, "login.refused")
        assert entry.actor == "unknown"

    def test_a_disabled_account_is_refused(self, rows: Database) -> None:
        with rows.begin() as session:
            session.scalars(select(UserRow)).one().disabled = True
        assert attempts(rows, 1, PASSWORD) == [None]

    def test_the_third_wrong_password_in_a_row_costs_time(self, rows: Database) -> None:
        attempts(rows, 3)
        assert attempts(rows, 1, PASSWORD) == [None]
        unlock(rows)
        assert attempts(rows, 1, PASSWORD) != [None]

    def test_ten_wrong_passwords_lock_the_account_and_raise_an_alert(self, rows: Database) -> None:
        attempts(rows, 10)
        with rows.reading() as session:
            user = session.scalars(select(UserRow)).one()
            assert user.locked_until is not None
            assert user.locked_until > now(session) + timedelta(minutes=14)
        assert attempts(rows, 1, PASSWORD) == [None]
        (entry,) = audited(rows, "user.locked")
        assert entry.event_id == "110113"

    def test_the_right_password_forgets_the_failures(self, rows: Database) -> None:
        attempts(rows, 2)
        attempts(rows, 1, PASSWORD)
        with rows.reading() as session:
            assert session.scalars(select(UserRow)).one().failed_logins == 0


class TestASession:
    def test_it_ends_when_nobody_did_anything_for_too_long(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        limit = timedelta(seconds=settings.site.web.session_idle_s)
        age(rows, seen=limit - timedelta(minutes=1))
        assert client.get("/studies").status_code == 200
        age(rows, seen=limit + timedelta(seconds=1))
        assert client.get("/studies").status_code == 303

    def test_it_ends_at_its_greatest_age_however_busy_it_is(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        age(rows, made=timedelta(seconds=settings.site.web.session_absolute_s + 1))
        assert client.get("/studies").status_code == 303

    def test_a_request_of_a_person_renews_it_and_a_timer_does_not(
        self, client: Client, rows: Database
    ) -> None:
        def idle() -> timedelta:
            with rows.reading() as session:
                held = session.scalars(select(SessionRow)).one()
                return now(session) - held.last_seen_at

        age(rows, seen=timedelta(minutes=10))
        assert client.get("/studies/rows").status_code == 200
        assert idle() > timedelta(minutes=9)
        assert client.get("/studies").status_code == 200
        assert idle() < timedelta(minutes=1)

    def test_it_is_gone_after_signing_out_even_for_a_kept_cookie(
        self, client: Client, rows: Database
    ) -> None:
        token = client.cookies["triage"]
        assert client.post("/logout", {"csrf_token": client.csrf()}).status_code == 303
        assert "triage" not in client.cookies
        client.cookies.set("triage", token, domain="triage.test")
        assert client.get("/studies").status_code == 303
        assert len(audited(rows, "logout")) == 1

    def test_it_ends_when_the_account_is_disabled(self, client: Client, rows: Database) -> None:
        with rows.begin() as session:
            session.scalars(select(UserRow)).one().disabled = True
        assert client.get("/studies").status_code == 303

    def test_signing_in_gives_a_new_token_and_forgets_the_expired(
        self, app: FastAPI, client: Client, rows: Database
    ) -> None:
        first = client.cookies["triage"]
        age(rows, made=timedelta(days=2))
        with Client(app) as other:
            other.sign_in()
            assert other.cookies["triage"] != first
        with rows.reading() as session:
            assert len(session.scalars(select(SessionRow)).all()) == 1
