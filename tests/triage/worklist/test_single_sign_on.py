"""Signing in with a real issuer, and with one that goes wrong in every way that matters."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from joserfc.jwk import RSAKey
from sqlalchemy import select

from db.accounts import ForeignAccountRow, HalfwayRow
from db.engine import Database
from db.tables import SessionRow, UserRow
from tests import oidc
from tests.oidc import Provider
from tests.servers import free_port
from tests.triage.worklist.client import NAME, Client
from tests.triage.worklist.conftest import audited
from triage.accounts import Accounts, Oidc
from triage.settings import Settings
from triage.worklist import access
from triage.worklist.app import create_app

PERSON: dict[str, Any] = {
    "sub": "4711", "preferred_username": "dr.far", "groups": ["radiology", "staff"],
}  # fmt: skip


@pytest.fixture(scope="module")
def issuer() -> Iterator[Provider]:
    with oidc.running() as provider:
        yield provider


@pytest.fixture
def provider(issuer: Provider) -> Provider:
    """As it is on a good day."""
    issuer.person, issuer.twist, issuer.document = dict(PERSON), {}, {}
    issuer.signs_with = None
    issuer.codes.clear()
    issuer.asked.clear()
    return issuer


def configured(settings: Settings, tmp_path: Path, url: str, **given: object) -> Settings:
    file = tmp_path / "client-secret"
    file.write_text(oidc.SECRET)
    file.chmod(0o600)
    values: dict[str, Any] = {
        "issuer": url, "client_id": oidc.CLIENT, "client_secret_file": file,
        "redirect_url": oidc.CALLBACK, "allows_plain_http": True,
        "roles": {"radiology": "radiologist", "it": "admin"},
    }  # fmt: skip
    accounts = Accounts(oidc=Oidc(**(values | given)), second_factor_for=("admin",))
    web = settings.site.web.model_copy(update={"accounts": accounts})
    return settings.model_copy(update={"site": settings.site.model_copy(update={"web": web})})


@pytest.fixture
def site(app: FastAPI, settings: Settings, tmp_path: Path, provider: Provider) -> Iterator[FastAPI]:
    """A worklist that knows the issuer; one local account is there."""
    assert app is not None
    made = create_app(configured(settings, tmp_path, provider.url))
    yield made
    made.state.previews.close()
    made.state.context.database.dispose()


@pytest.fixture
def browser(site: FastAPI) -> Iterator[Client]:
    with Client(site) as client:
        yield client


def to_the_issuer_and_back(browser: Client, **instead: str) -> httpx.Response:
    there = browser.get("/login/oidc?next=/studies/12").headers["location"]
    with httpx.Client(trust_env=False) as http:
        back = httpx.URL(http.get(there).headers["location"])
    return browser.get(f"/login/oidc/callback?{back.copy_merge_params(instead).query.decode()}")


def accounts_of(rows: Database) -> dict[str, str]:
    with rows.reading() as session:
        return {one.name: one.role for one in session.scalars(select(UserRow))}


def sessions_of(rows: Database) -> int:
    with rows.reading() as session:
        return len(session.scalars(select(SessionRow)).all())


def test_a_person_of_the_issuer_gets_an_account_with_the_mapped_roles(
    browser: Client, rows: Database, provider: Provider
) -> None:
    assert 'href="/login/oidc?next=/studies"' in browser.get("/login").text
    answer = to_the_issuer_and_back(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/12")
    assert browser.get("/studies").status_code == 200
    assert accounts_of(rows) == {NAME: "admin radiologist", "dr.far": "radiologist"}
    with rows.reading() as session:
        row = session.scalars(select(ForeignAccountRow)).one()
        assert (row.issuer, row.subject) == (provider.url, "4711")
        assert session.scalars(select(HalfwayRow)).all() == []
    (entry,) = audited(rows, "login")
    assert (entry.actor, entry.event_id) == ("dr.far", "110114")
    assert to_the_issuer_and_back(browser).status_code == 303
    assert len(accounts_of(rows)) == 2


def test_the_issuer_is_asked_with_pkce_state_and_nonce(browser: Client, provider: Provider) -> None:
    asked = httpx.URL(browser.get("/login/oidc").headers["location"]).params
    assert asked["code_challenge_method"] == "S256"
    assert min(len(asked[one]) for one in ("state", "nonce", "code_challenge")) >= 43
    assert asked["response_type"] == "code"
    assert "secret" not in str(asked)
    assert asked["redirect_uri"] == oidc.CALLBACK


def test_new_roles_at_the_issuer_are_new_roles_here_and_end_sessions(
    browser: Client, rows: Database, provider: Provider
) -> None:
    to_the_issuer_and_back(browser)
    before = browser.cookies["triage"]
    provider.person |= {"groups": ["it"], "amr": ["pwd", "mfa"]}
    assert to_the_issuer_and_back(browser).status_code == 303
    assert accounts_of(rows)["dr.far"] == "admin"
    assert sessions_of(rows) == 1
    assert browser.cookies["triage"] != before


@pytest.mark.parametrize(
    ("twist", "status"),
    [
        ({"iss": "https://elsewhere.example"}, 401),
        ({"aud": ["another"]}, 401),
        ({"aud": [oidc.CLIENT, "another"], "azp": "another"}, 401),
        ({"nonce": "another"}, 401),
        ({"exp": int(time.time()) - 3600}, 401),
        ({"iat": int(time.time()) + 3600}, 401),
        ({"sub": ""}, 403),
        ({"preferred_username": ""}, 401),
        ({"preferred_username": NAME}, 403),
        ({"groups": ["staff"]}, 403),
        ({"groups": "staff"}, 403),
        ({"groups": []}, 403),
    ],
)
def test_a_token_that_does_not_hold_opens_nothing(
    browser: Client, rows: Database, provider: Provider, twist: dict[str, Any], status: int
) -> None:
    provider.twist = twist
    assert to_the_issuer_and_back(browser).status_code == status
    assert sessions_of(rows) == 0
    assert accounts_of(rows) == {NAME: "admin radiologist"}
    assert len(audited(rows, "login.refused")) == 1


def test_a_token_that_another_signed_opens_nothing(
    browser: Client, rows: Database, provider: Provider
) -> None:
    provider.signs_with = RSAKey.generate_key(2048, {"kid": "1"})
    assert to_the_issuer_and_back(browser).status_code == 401
    assert sessions_of(rows) == 0


@pytest.mark.parametrize("instead", [{"state": "x"}, {"code": "x"}, {"code": ""}, {"error": "x"},
                                     {"iss": "https://elsewhere.example"}])  # fmt: skip
def test_an_answer_that_fits_no_question_opens_nothing(
    browser: Client, rows: Database, instead: dict[str, str]
) -> None:
    assert to_the_issuer_and_back(browser, **instead).status_code == 401
    assert sessions_of(rows) == 0


def test_an_answer_in_another_browser_or_a_second_time_opens_nothing(
    site: FastAPI, browser: Client, rows: Database
) -> None:
    there = browser.get("/login/oidc").headers["location"]
    with httpx.Client(trust_env=False) as http:
        back = httpx.URL(http.get(there).headers["location"]).query.decode()
    with Client(site) as other:
        assert other.get(f"/login/oidc/callback?{back}").status_code == 401
    assert browser.get(f"/login/oidc/callback?{back}").status_code == 303
    browser.cookies.delete("triage")
    assert browser.get(f"/login/oidc/callback?{back}").status_code == 401
    assert sessions_of(rows) == 1


def test_a_disabled_account_stays_out(browser: Client, rows: Database) -> None:
    to_the_issuer_and_back(browser)
    with rows.begin() as session:
        session.scalars(select(UserRow).where(UserRow.name == "dr.far")).one().disabled = True
    assert to_the_issuer_and_back(browser).status_code == 403


def test_an_admin_needs_two_factors_there_or_here(
    browser: Client, rows: Database, provider: Provider
) -> None:
    provider.person["groups"] = ["it"]
    assert to_the_issuer_and_back(browser).status_code == 401
    assert sessions_of(rows) == 0
    provider.person["amr"] = ["pwd", "otp", "mfa"]
    assert to_the_issuer_and_back(browser).status_code == 303


def test_no_password_opens_an_account_of_the_issuer(browser: Client) -> None:
    to_the_issuer_and_back(browser)
    browser.cookies.clear()
    for password in ("", "a long password"):
        assert browser.sign_in("dr.far", password).status_code == 401


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://elsewhere.example"},
        {"authorization_endpoint": "https://elsewhere.example/authorize"},
        {"authorization_endpoint": None},
    ],
)
def test_a_document_that_leads_elsewhere_is_not_followed(
    browser: Client, provider: Provider, document: dict[str, Any]
) -> None:
    provider.document = document
    answer = browser.get("/login/oidc")
    assert answer.status_code == 401
    assert "location" not in answer.headers


@pytest.mark.parametrize("name", ["token_endpoint", "jwks_uri"])
def test_neither_code_nor_secret_is_sent_elsewhere(
    browser: Client, provider: Provider, name: str
) -> None:
    with oidc.running() as trap:
        there = browser.get("/login/oidc").headers["location"]
        with httpx.Client(trust_env=False) as http:
            back = httpx.URL(http.get(there).headers["location"]).query.decode()
        provider.document = {name: trap.url.replace("127.0.0.1", "localhost") + "/token"}
        assert browser.get(f"/login/oidc/callback?{back}").status_code == 401
        assert trap.asked == []


def test_an_issuer_that_is_away_is_said_and_local_accounts_still_work(
    app: FastAPI, settings: Settings, tmp_path: Path
) -> None:
    assert app is not None
    made = create_app(configured(settings, tmp_path, f"http://127.0.0.1:{free_port()}"))
    with Client(made) as client:
        answer = client.get("/login/oidc")
        assert answer.status_code == 503
        assert "does not answer" in answer.text
        assert client.sign_in().status_code == 401  # an admin, without the factor asked for
    made.state.previews.close()
    made.state.context.database.dispose()


def test_without_an_issuer_there_is_no_such_page(anonymous: Client) -> None:
    assert anonymous.get("/login/oidc").status_code == 404
    assert anonymous.get("/login/oidc/callback?code=x&state=y").status_code == 404
    assert "/login/oidc" not in anonymous.get("/login").text


def test_the_issuer_must_be_reached_by_tls(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="https"):
        configured(settings, tmp_path, "http://id.hospital.example")
    with pytest.raises(ValueError, match="https"):
        configured(settings, tmp_path, "http://127.0.0.1:1", allows_plain_http=False)


def test_the_way_in_is_public_and_says_nothing(anonymous: Client) -> None:
    assert access.ANONYMOUS in access.allowed("GET", "/login/oidc/callback")
    assert json.dumps(anonymous.get("/login/oidc").text).count(NAME) == 0
