"""OHIF's files: for who sees images, under a policy of their own, and nothing beside them."""

import pytest
from sqlalchemy import select

from db.engine import Database
from db.tables import UserRow
from tests.triage.worklist.client import Client
from triage.settings import Settings


@pytest.fixture
def installed(settings: Settings) -> Settings:
    folder = settings.state / "ohif"
    folder.mkdir()
    (folder / "index.html").write_text("<html>viewer</html>")
    (folder / "app.js").write_text("1;")
    (settings.state / "beside.txt").write_text("secret")
    return settings


def test_where_it_is_not_installed_it_says_how(client: Client) -> None:
    answer = client.get("/ohif/")
    assert answer.status_code == 404
    assert "triage viewer install-ohif" in answer.text


def test_it_runs_under_its_own_policy(client: Client, installed: Settings) -> None:
    assert client.get("/ohif").headers["location"] == "/ohif/"
    answer = client.get("/ohif/app.js")
    assert answer.text == "1;"
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy
    assert "http" not in policy
    assert "no-store" not in answer.headers["cache-control"]
    others = client.get("/studies").headers["content-security-policy"]
    assert "wasm" not in others


def test_its_own_addresses_give_its_page(client: Client, installed: Settings) -> None:
    assert client.get("/ohif/viewer").text == "<html>viewer</html>"
    assert client.get("/ohif/missing.js").status_code == 404


@pytest.mark.parametrize(
    "path", ["../beside.txt", "..%2fbeside.txt", "%2e%2e/beside.txt", "/etc/passwd", "a%00.js"]
)
def test_nothing_beside_it_is_given(client: Client, installed: Settings, path: str) -> None:
    answer = client.get(f"/ohif/{path}")
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_who_sees_no_images_gets_none_of_it(
    client: Client, rows: Database, installed: Settings
) -> None:
    with rows.begin() as session:
        session.scalars(select(UserRow)).one().role = "admin"
    assert client.get("/ohif/").status_code == 403


def test_nobody_is_led_to_the_sign_in_page(anonymous: Client, installed: Settings) -> None:
    answer = anonymous.get("/ohif/app.js")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")
