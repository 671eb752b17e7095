import pytest
from fastapi import FastAPI

from db.engine import Database
from tests.triage.worklist.client import NAME, PASSWORD, Client
from tests.triage.worklist.conftest import audited
from triage.settings import Settings
from triage.worklist import auth
from triage.worklist.app import create_app
from triage.worklist.signin import Throttle


def test_signing_in_sets_a_cookie_that_no_script_reads_and_no_other_site_sends(
    anonymous: Client,
) -> None:
    answer = anonymous.sign_in()
    cookie = next(one for one in answer.headers.get_list("set-cookie") if one.startswith("triage="))
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert "Secure" not in cookie
    assert answer.headers["location"] == "/studies"


def test_behind_tls_the_cookies_are_bound_to_host_and_tls(settings: Settings) -> None:
    web = settings.site.web.model_copy(update={"secure_cookies": True})
    site = settings.site.model_copy(update={"web": web})
    app = create_app(settings.model_copy(update={"site": site}))
    with app.state.context.database.begin() as session:
        auth.create_user(session, NAME, PASSWORD, auth.ADMIN)
    with Client(app, secure=True) as client:
        answer = client.sign_in()
        cookies = answer.headers.get_list("set-cookie")
        assert any(one.startswith("__Host-triage=") and "Secure" in one for one in cookies)
        assert client.get("/studies").status_code == 200
        assert "max-age" in client.get("/studies").headers["strict-transport-security"]
    app.state.context.database.dispose()


def test_an_unknown_name_and_a_wrong_password_get_the_same_answer(anonymous: Client) -> None:
    wrong, unknown = anonymous.sign_in(NAME, "not it"), anonymous.sign_in("nobody", "not it")
    assert wrong.status_code == unknown.status_code == 401
    without_tokens = [
        "\n".join(line for line in one.text.splitlines() if "csrf_token" not in line)
        for one in (wrong, unknown)
    ]
    assert without_tokens[0] == without_tokens[1]


@pytest.mark.parametrize("csrf_token", ["", "guessed"])
def test_a_form_that_is_not_ours_signs_nobody_in(anonymous: Client, csrf_token: str) -> None:
    anonymous.get("/login")
    form = {"name": NAME, "password": PASSWORD, "csrf_token": csrf_token}
    assert anonymous.post("/login", form).status_code == 403
    assert "triage" not in anonymous.cookies


def test_the_password_is_never_sent_back(anonymous: Client) -> None:
    assert "hunter2hunter2" not in anonymous.sign_in(NAME, "hunter2hunter2").text


@pytest.mark.parametrize(
    "target", ["https://evil.test", "//evil.test", "/studies/1/../../x", "/logout", "/studies/1\n"]
)
def test_nobody_is_led_elsewhere_after_signing_in(anonymous: Client, target: str) -> None:
    token = anonymous.hidden("/login", "csrf_token")
    form = {"name": NAME, "password": PASSWORD, "csrf_token": token, "target": target}
    assert anonymous.post("/login", form).headers["location"] == "/studies"


def test_a_person_is_led_to_the_study_asked_for(anonymous: Client) -> None:
    token = anonymous.hidden("/login", "csrf_token")
    form = {"name": NAME, "password": PASSWORD, "csrf_token": token, "target": "/studies/12"}
    assert anonymous.post("/login", form).headers["location"] == "/studies/12"


def test_a_flood_from_one_address_is_answered_429_without_checking(
    app: FastAPI, anonymous: Client, rows: Database
) -> None:
    throttle: Throttle = app.state.throttle
    for _ in range(Throttle.limit):
        throttle.note("10.0.0.7")
    assert anonymous.sign_in().status_code == 429
    assert audited(rows, "login") == []
    with Client(app, address="10.0.0.8") as elsewhere:
        assert elsewhere.sign_in().status_code == 303


def test_a_throttle_remembers_only_so_many_addresses() -> None:
    throttle = Throttle()
    for number in range(Throttle.addresses + 10):
        throttle.note(str(number))
    for _ in range(Throttle.limit):
        throttle.note("busy")
    assert throttle.refuses("busy")
    assert not throttle.refuses("0")


class TestSettingUp:
    def test_the_link_makes_the_first_administrator_who_can_then_sign_in(
        self, empty_app: FastAPI, settings: Settings
    ) -> None:
        token = auth.setup_token(settings)
        form = {"token": token, "name": NAME, "password": PASSWORD, "again": PASSWORD}
        with Client(empty_app) as client:
            assert client.hidden(f"/setup?token={token}", "token") == token
            assert client.post("/setup", form).headers["location"] == "/login"
            assert client.sign_in().status_code == 303
            assert client.post("/setup", form).status_code == 400
            assert client.get(f"/setup?token={token}").status_code == 403

    def test_the_two_passwords_must_agree(self, empty_app: FastAPI, settings: Settings) -> None:
        token = auth.setup_token(settings)
        form = {"token": token, "name": NAME, "password": PASSWORD, "again": "another one"}
        with Client(empty_app) as client:
            answer = client.post("/setup", form)
            assert answer.status_code == 400
            assert "differ" in answer.text
            assert PASSWORD not in answer.text

    def test_without_the_token_there_is_no_form(self, empty_app: FastAPI) -> None:
        with Client(empty_app) as client:
            answer = client.get("/setup?token=guessed")
            assert answer.status_code == 403
            assert 'type="password"' not in answer.text
