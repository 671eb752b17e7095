import re
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from db.engine import Database
from tests.triage.worklist.builders import add_study
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited
from triage.worklist.access import ANONYMOUS
from triage.worklist.access import ROUTES as TABLE

ROUTES = {
    ("GET", "/"): 303,
    ("GET", "/studies"): 303,
    ("GET", "/studies/rows"): 303,
    ("GET", "/studies/filters"): 303,
    ("POST", "/studies/search"): 401,
    ("GET", "/studies/stream"): 303,
    ("GET", "/studies/next"): 303,
    ("POST", "/studies/export"): 401,
    ("POST", "/studies/saved"): 401,
    ("POST", "/studies/saved/{saved_id}/remove"): 401,
    ("POST", "/studies/{study_id}/claim"): 401,
    ("POST", "/studies/{study_id}/release"): 401,
    ("GET", "/studies/{study_id}"): 303,
    ("GET", "/studies/{study_id}/evidence"): 303,
    ("GET", "/studies/{study_id}/preview.png"): 401,
    ("GET", "/studies/{study_id}/view"): 303,
    ("GET", "/studies/{study_id}/pacs"): 303,
    ("GET", "/studies/{study_id}/view/next"): 303,
    ("GET", "/studies/{study_id}/view/series"): 303,
    ("GET", "/studies/{study_id}/view/frames/{sop}/{frame}"): 303,
    ("GET", "/studies/{study_id}/view/heat/{sop}/{frame}"): 303,
    ("GET", "/studies/{study_id}/view/references/{place}"): 303,
    ("GET", "/studies/{study_id}/view/priors/{prior_id}/series"): 303,
    ("GET", "/studies/{study_id}/view/priors/{prior_id}/frames/{sop}/{frame}"): 303,
    ("POST", "/studies/{study_id}/feedback"): 401,
    ("POST", "/studies/{study_id}/feedback/undo"): 401,
    ("POST", "/studies/{study_id}/withdraw"): 401,
    ("GET", "/deliveries"): 303,
    ("POST", "/deliveries/{outbox_id}/resend"): 401,
    ("GET", "/conflicts"): 303,
    ("POST", "/conflicts/{conflict_id}/resolve"): 401,
    ("GET", "/quarantine"): 303,
    ("GET", "/waiting"): 303,
    ("GET", "/admin"): 303,
    ("GET", "/admin/failures"): 303,
    ("POST", "/admin/failures/retry"): 401,
    ("POST", "/admin/failures/{study_id}/retry"): 401,
    ("GET", "/admin/destinations"): 303,
    ("POST", "/admin/destinations/resend"): 401,
    ("GET", "/admin/detectors"): 303,
    ("GET", "/admin/users"): 303,
    ("POST", "/admin/users"): 401,
    ("POST", "/admin/users/roles"): 401,
    ("POST", "/admin/users/access"): 401,
    ("GET", "/audit"): 303,
    ("POST", "/audit/find"): 401,
    ("POST", "/audit/export"): 401,
    ("GET", "/admin/health"): 303,
    ("POST", "/admin/health"): 401,
    ("GET", "/ohif"): 303,
    ("GET", "/ohif/{path:path}"): 303,
    ("GET", "/api/studies"): 401,
    ("POST", "/logout"): 401,
    ("POST", "/session/active"): 401,
    ("GET", "/account"): 303,
    ("POST", "/account/password"): 401,
    ("POST", "/account/factor"): 401,
    ("POST", "/account/factor/confirm"): 401,
    ("POST", "/account/factor/remove"): 401,
    ("GET", "/studies/{study_id}/emergency"): 303,
    ("POST", "/studies/{study_id}/emergency"): 401,
    ("GET", "/emergencies"): 303,
    ("POST", "/emergencies/{number}/reviewed"): 401,
    ("POST", "/login/code"): 403,
    ("GET", "/login/oidc"): 404,
    ("GET", "/login/oidc/callback"): 404,
    ("GET", "/login"): 200,
    ("POST", "/login"): 403,
    ("GET", "/setup"): 403,
    ("POST", "/setup"): 400,
    ("GET", "/healthz"): 200,
    ("GET", "/readyz"): 200,
}
"""Every route, and what it answers to nobody."""


def every_route(app: FastAPI) -> Iterator[tuple[str, str]]:
    for route in iter_route_contexts(app.routes):
        for method in sorted((route.methods or set()) - {"HEAD"}):
            yield method, str(route.path)


def test_every_route_is_in_the_table_of_what_it_answers_to_nobody(app: FastAPI) -> None:
    assert set(every_route(app)) == set(ROUTES)


@pytest.mark.parametrize(("route", "status"), ROUTES.items())
def test_nobody_is_answered_what_the_table_says(
    anonymous: Client, rows: Database, route: tuple[str, str], status: int
) -> None:
    with rows.begin() as session:
        study = add_study(session)
    path = re.sub(r"\{.*?\}", str(study.id), route[1])
    answer = anonymous.ask(route[0], path)
    assert answer.status_code == status
    assert "DOE" not in answer.text
    if status == 303:
        assert answer.headers["location"].startswith("/login")


def test_only_the_ways_in_and_health_are_public() -> None:
    public = {path for (_, path), roles in TABLE.items() if ANONYMOUS in roles}
    assert sorted(public) == [
        "/healthz", "/login", "/login/code", "/login/oidc", "/login/oidc/callback", "/readyz",
        "/setup",
    ]  # fmt: skip


def test_a_timer_without_a_session_is_told_401_and_not_sent_a_form(anonymous: Client) -> None:
    assert anonymous.get("/studies/rows", headers={"HX-Request": "true"}).status_code == 401


@pytest.mark.parametrize("path", ["/logout", "/session/active", "/studies/search"])
@pytest.mark.parametrize("token", ["", "guessed"])
def test_a_change_without_the_sessions_token_is_refused(
    client: Client, path: str, token: str
) -> None:
    assert client.post(path, {"csrf_token": token, "text": "x"}).status_code == 403
    assert client.get("/studies").status_code == 200


def test_a_change_with_another_sessions_token_is_refused(app: FastAPI, client: Client) -> None:
    with Client(app) as other:
        other.sign_in()
        token = other.csrf()
    assert client.post("/logout", {"csrf_token": token}).status_code == 403


def test_the_token_may_come_in_a_header(client: Client) -> None:
    answer = client.post("/session/active", {}, headers={"X-CSRF-Token": client.csrf()})
    assert answer.status_code == 204


def test_a_form_of_another_site_is_refused_whatever_it_carries(
    client: Client, rows: Database
) -> None:
    token = client.csrf()
    answer = client.post("/logout", {"csrf_token": token}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert audited(rows, "logout") == []


def test_after_signing_in_a_person_is_led_to_the_study_asked_for(
    anonymous: Client, rows: Database
) -> None:
    with rows.begin() as session:
        study = add_study(session)
    asked = anonymous.get(f"/studies/{study.id}")
    assert asked.headers["location"] == f"/login?next=/studies/{study.id}"
