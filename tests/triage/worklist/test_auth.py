import stat

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from db.engine import Database
from db.tables import UserRow
from tests.triage.worklist.client import NAME, PASSWORD
from tests.triage.worklist.conftest import audited
from triage.settings import Settings
from triage.worklist import auth
from triage.worklist.auth import NotAccepted

BASE = "http://127.0.0.1:8080"


class TestTheFirstAdministrator:
    def test_is_invited_by_a_link_with_a_token_that_only_we_can_read(
        self, empty_app: FastAPI, settings: Settings, rows: Database
    ) -> None:
        url = auth.first_sign_in_url(settings, rows, BASE)
        path = settings.secrets / "setup-token"
        token = path.read_text()
        assert url == f"{BASE}/setup?token={token}"
        assert len(token) >= 43
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(settings.secrets.stat().st_mode) == 0o700

    def test_gets_the_same_link_until_it_is_used(self, settings: Settings, rows: Database) -> None:
        first = auth.first_sign_in_url(settings, rows, BASE)
        assert auth.first_sign_in_url(settings, rows, BASE) == first

    def test_uses_the_token_up(self, settings: Settings, rows: Database) -> None:
        token = auth.setup_token(settings)
        with rows.begin() as session:
            user = auth.set_up(settings, session, token, NAME, PASSWORD)
            assert user.role == auth.ADMIN
        assert not (settings.secrets / "setup-token").exists()
        assert auth.first_sign_in_url(settings, rows, BASE) is None
        with rows.begin() as session, pytest.raises(NotAccepted):
            auth.set_up(settings, session, token, "another", PASSWORD)

    def test_keeps_the_token_when_the_password_is_refused(
        self, settings: Settings, rows: Database
    ) -> None:
        token = auth.setup_token(settings)
        with rows.begin() as session, pytest.raises(NotAccepted, match="12 to 256"):
            auth.set_up(settings, session, token, NAME, "short")
        with rows.reading() as session:
            assert auth.opens_setup(settings, session, token)

    @pytest.mark.parametrize("token", ["", "guessed", "\N{SNOWMAN}"])
    def test_needs_the_token(self, settings: Settings, rows: Database, token: str) -> None:
        auth.setup_token(settings)
        with rows.begin() as session, pytest.raises(NotAccepted):
            auth.set_up(settings, session, token, NAME, PASSWORD)
        with rows.reading() as session:
            assert not auth.has_users(session)

    def test_is_not_invited_once_there_is_an_account(
        self, app: FastAPI, settings: Settings, rows: Database
    ) -> None:
        token = auth.setup_token(settings)
        with rows.begin() as session, pytest.raises(NotAccepted):
            auth.set_up(settings, session, token, "another", PASSWORD)


class TestAnAccount:
    def test_is_made_without_its_password_being_kept_and_is_audited(self, rows: Database) -> None:
        with rows.begin() as session:
            number = auth.create_user(session, f" {NAME} ", PASSWORD, "radiologist").id
        with rows.reading() as session:
            user = session.scalars(select(UserRow)).one()
        assert (user.id, user.name, user.role) == (number, NAME, "radiologist")
        assert PASSWORD not in user.password_hash
        (entry,) = audited(rows, "user.created")
        assert (entry.event_id, entry.object_id) == ("110113", str(number))

    @pytest.mark.parametrize(
        ("name", "password"),
        [
            ("", PASSWORD),
            ("x" * 65, PASSWORD),
            ("two\nlines", PASSWORD),
            (NAME, "eleven char"),
            (NAME, "x" * 257),
            ("a long Password", PASSWORD),
        ],
    )
    def test_is_refused_with_a_bad_name_or_password(
        self, rows: Database, name: str, password: str
    ) -> None:
        with rows.begin() as session, pytest.raises(NotAccepted) as refused:
            auth.create_user(session, name, password, auth.ADMIN)
        assert password not in str(refused.value)

    def test_is_refused_under_a_name_that_is_taken(self, app: FastAPI, rows: Database) -> None:
        with rows.begin() as session, pytest.raises(NotAccepted, match="already"):
            auth.create_user(session, NAME, PASSWORD, auth.ADMIN)
