"""One-time codes: of now, once, and for one account."""

from datetime import timedelta

import pyotp
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from db.accounts import RecoveryCodeRow, SecondFactorRow
from db.engine import Database, now
from db.tables import UserRow
from tests.triage.worklist.conftest import audited
from triage.errors import ConfigError
from triage.settings import Settings
from triage.worklist import factor
from triage.worklist.auth import NotAccepted

RFC_6238 = "12345678901234567890"
"""The secret of the RFC's appendix B."""


@pytest.fixture
def key(settings: Settings) -> bytes:
    return factor.key(settings)


@pytest.fixture
def secret(app: FastAPI, rows: Database, key: bytes) -> str:
    """Of the account's second factor, which counts."""
    assert app is not None
    with rows.begin() as session:
        user = session.scalars(select(UserRow)).one()
        secret = factor.begin(session, key, user)
        factor.give(session, user, actor="test")
    return secret


def take(rows: Database, key: bytes, code: str) -> bool:
    with rows.begin() as session:
        return factor.accepts(session, key, session.scalars(select(UserRow)).one(), code)


def code(rows: Database, secret: str, *, steps: int = 0) -> str:
    with rows.reading() as session:
        at = now(session) + timedelta(seconds=steps * factor.STEP_S)
    return pyotp.TOTP(secret).at(int(at.timestamp()))


def test_the_codes_are_those_of_the_standard() -> None:
    import base64

    totp = pyotp.TOTP(base64.b32encode(RFC_6238.encode()).decode(), digits=8)
    assert [totp.at(one) for one in (59, 1111111109, 20000000000)] == [
        "94287082", "07081804", "65353130",
    ]  # fmt: skip


def test_a_code_works_once(rows: Database, key: bytes, secret: str) -> None:
    given = code(rows, secret)
    assert take(rows, key, f" {given[:3]} {given[3:]} ")
    assert not take(rows, key, given)


def test_an_older_code_than_one_taken_is_refused(rows: Database, key: bytes, secret: str) -> None:
    older, newer = code(rows, secret), code(rows, secret, steps=1)
    assert take(rows, key, newer)
    assert not take(rows, key, older)


@pytest.mark.parametrize("steps", [-3, 3])
def test_a_code_of_another_time_is_refused(
    rows: Database, key: bytes, secret: str, steps: int
) -> None:
    assert not take(rows, key, code(rows, secret, steps=steps))


@pytest.mark.parametrize("wrong", ["", "000000", "12345", "\u0661\u0662\u0663\u0664\u0665\u0666"])
def test_what_is_no_code_is_refused(rows: Database, key: bytes, secret: str, wrong: str) -> None:
    if wrong in {code(rows, secret, steps=one) for one in (-1, 0, 1, 2)}:
        pytest.skip("this minute it is the code")
    assert not take(rows, key, wrong)


def test_a_recovery_code_works_once_and_is_kept_as_its_hash(
    app: FastAPI, rows: Database, key: bytes
) -> None:
    assert app is not None
    with rows.begin() as session:
        user = session.scalars(select(UserRow)).one()
        secret = factor.begin(session, key, user)
    with rows.begin() as session:
        user = session.scalars(select(UserRow)).one()
        codes = factor.confirm(session, key, user, code(rows, secret), actor=user.name)
    assert len(set(codes)) == factor.RECOVERY_CODES
    with rows.reading() as session:
        kept = " ".join(session.scalars(select(RecoveryCodeRow.code_sha256)))
    assert not any(one in kept or one.replace("-", "") in kept for one in codes)
    assert take(rows, key, codes[0].upper())
    assert not take(rows, key, codes[0])
    assert take(rows, key, codes[1].replace("-", ""))
    assert len(audited(rows, "user.recovery-code-used")) == 2


def test_it_counts_only_after_a_code_was_shown(app: FastAPI, rows: Database, key: bytes) -> None:
    assert app is not None
    with rows.begin() as session:
        user = session.scalars(select(UserRow)).one()
        secret = factor.begin(session, key, user)
        assert not factor.has(session, user.id)
        assert factor.pending(session, key, user.id) == secret
        with pytest.raises(NotAccepted):
            factor.confirm(session, key, user, "not one", actor="x")
    assert not take(rows, key, code(rows, secret))


def test_the_secret_is_unreadable_in_the_database_and_bound_to_its_account(
    rows: Database, key: bytes, secret: str, settings: Settings
) -> None:
    with rows.begin() as session:
        row = session.scalars(select(SecondFactorRow)).one()
        assert secret not in row.sealed_secret
        other = UserRow(name="x", password_hash="", role="admin", created_at=row.created_at)
        session.add(other)
        session.flush()
        session.execute(update(SecondFactorRow).values(user_id=other.id))
    with rows.reading() as session, pytest.raises(ConfigError, match="is not the key"):
        factor.check_key(settings, session)


def test_a_lost_or_changed_key_stops_the_start(
    rows: Database, secret: str, settings: Settings
) -> None:
    assert secret
    path = settings.secrets / "factor.key"
    with rows.reading() as session:
        factor.check_key(settings, session)
        path.write_bytes(bytes(range(32)))
        with pytest.raises(ConfigError, match="is not the key"):
            factor.check_key(settings, session)
        path.unlink()
        with pytest.raises(ConfigError, match="is missing"):
            factor.check_key(settings, session)


def test_the_drawing_is_an_element_without_script_or_style() -> None:
    drawn = factor.drawing(factor.uri("dr.<x>", pyotp.random_base32()))
    assert drawn.startswith("<svg")
    assert "style" not in drawn
    assert "script" not in drawn
    assert "http" not in drawn
