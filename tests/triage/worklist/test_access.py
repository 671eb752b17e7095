"""Every route is really called as every role, and must do what the checked-in page says."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from starlette.routing import Mount

from db.engine import Database
from db.tables import UserRow
from tests.triage.worklist.builders import add_instance, add_study
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited
from tests.triage.worklist.test_guard import every_route
from triage.ups import tokens
from triage.worklist import access, sessions
from triage.worklist.access import ANONYMOUS, Role

PAGE: Final = Path(__file__).parents[3] / "docs" / "access.md"
LINE: Final = re.compile(r"\| `(\w+) (\S+)` \| (.+) \|")
MATRIX: Final = {
    (method, path): frozenset(
        who
        for who, mark in zip((ANONYMOUS, *Role), marks.split("|"), strict=True)
        if mark.strip() == "yes"
    )
    for method, path, marks in LINE.findall(PAGE.read_text(encoding="utf-8"))
}
"""The page as it is checked in: route to roles."""
PEOPLE: Final = sorted(set(Role) - {Role.SERVICE})


def become(rows: Database, client: Client, roles: str) -> None:
    """Give the account these roles and a fresh session."""
    with rows.begin() as session:
        user = session.scalars(select(UserRow)).one()
        user.role = roles
        token = sessions.open_session(session, user)
    client.cookies.set("triage", token, domain="triage.test")


def csrf_of(rows: Database) -> str:
    from db.tables import SessionRow

    with rows.reading() as session:
        latest = select(SessionRow.csrf_token).order_by(SessionRow.created_at.desc()).limit(1)
        return session.scalars(latest).one()


def called(client: Client, method: str, path: str, csrf: str, bearer: str = "") -> bool:
    """Tell whether a route was opened."""
    url = re.sub(r"\{.*?\}", "1", path).replace("/dicomweb", "/dicomweb/studies")
    headers = {"X-CSRF-Token": csrf} if method != "GET" else {}
    headers |= {"Authorization": f"Bearer {bearer}"} if bearer else {}
    answer = client.ask(method, url, headers=headers, data={} if method == "POST" else None)
    if answer.status_code == 401:
        return False
    if answer.status_code == 303 and answer.headers["location"].startswith("/login"):
        return path == "/logout"
    assert answer.status_code < 500, f"{method} {path}"
    if path == "/dicomweb":
        return answer.status_code != 403
    return not (answer.status_code == 403 and access.REFUSED in answer.text)


def test_the_page_is_what_the_table_says() -> None:
    told = "run: triage user matrix > docs/access.md"
    assert PAGE.read_text(encoding="utf-8") == access.matrix(), told


def test_every_route_has_a_line_and_every_line_a_route(app: FastAPI) -> None:
    mounted = {("GET", "/dicomweb")}
    assert set(every_route(app)) | mounted == set(access.ROUTES)


def test_nothing_else_is_mounted(app: FastAPI) -> None:
    found = {one.path for one in app.routes if isinstance(one, Mount)}
    assert found <= {"/static", "/dicomweb"}


@pytest.mark.parametrize("who", [ANONYMOUS, *PEOPLE])
def test_every_route_opens_for_whom_the_page_says_and_for_nobody_else(
    anonymous: Client, rows: Database, who: str
) -> None:
    with rows.begin() as session:
        add_instance(session, add_study(session))
    wrong, refused = [], 0
    for (method, path), roles in MATRIX.items():
        if who != ANONYMOUS:
            become(rows, anonymous, who)
        opened = called(anonymous, method, path, csrf_of(rows) if who != ANONYMOUS else "")
        refused += not opened
        if opened != (who in roles) and ANONYMOUS not in roles:
            wrong.append(f"{method} {path}: opened={opened} for {who}")
    assert wrong == []
    kinds = ("access.refused", "dicomweb.denied")
    noted = [row for kind in kinds for row in audited(rows, kind)]
    assert len(noted) == (0 if who == ANONYMOUS else refused)
    assert all(row.outcome == 8 and row.actor_role == who for row in noted)


def test_a_program_opens_its_routes_and_no_other(anonymous: Client, rows: Database) -> None:
    with rows.begin() as session:
        add_instance(session, add_study(session))
        token = tokens.add(session, "program", sorted(tokens.SCOPES), actor="test")
    for (method, path), roles in MATRIX.items():
        opened = called(anonymous, method, path, "", token)
        assert opened == (Role.SERVICE in roles) or ANONYMOUS in roles, f"{method} {path}"
    noted = audited(rows, "access.refused")
    assert len(noted) == sum(Role.SERVICE not in roles for roles in MATRIX.values())
    assert {(row.actor, row.actor_role, row.outcome) for row in noted} == {
        ("program", "service", 8)
    }


@pytest.mark.parametrize("path", sorted(path for _, path in access.SCOPES))
def test_a_program_needs_the_scope_and_a_token_that_has_not_ended(
    anonymous: Client, rows: Database, path: str
) -> None:
    scope = access.SCOPES["GET", path]
    with rows.begin() as session:
        others = sorted(tokens.SCOPES - {scope})
        lacking = tokens.add(session, "lacking", others, actor="test")
        ended = tokens.add(session, "ended", [scope], actor="test", lasts=timedelta(seconds=-1))
        revoked = tokens.add(session, "revoked", [scope], actor="test")
        tokens.revoke(session, "revoked", actor="test")
        good = tokens.add(session, "good", [scope], actor="test", lasts=timedelta(days=1))
    for token in (lacking, ended, revoked, "guessed"):
        assert not called(anonymous, "GET", path, "", token)
    assert called(anonymous, "GET", path, "", good)
    become(rows, anonymous, "radiologist")
    assert not called(anonymous, "GET", path, "", "guessed")


def test_every_route_of_programs_has_a_scope() -> None:
    served = {key for key, roles in access.ROUTES.items() if Role.SERVICE in roles}
    public = {key for key, roles in access.ROUTES.items() if ANONYMOUS in roles}
    assert served - public == set(access.SCOPES)
    assert set(access.SCOPES.values()) <= tokens.SCOPES


@pytest.mark.parametrize("who", ["", "reader", Role.SERVICE])
def test_an_account_of_no_known_role_opens_nothing(
    anonymous: Client, rows: Database, who: str
) -> None:
    become(rows, anonymous, who)
    for method, path in (("GET", "/"), ("GET", "/studies"), ("GET", "/studies/1/preview.png")):
        assert not called(anonymous, method, path, "")


def test_a_route_without_a_line_serves_nobody(app: FastAPI, client: Client, rows: Database) -> None:
    app.add_api_route("/forgotten", lambda: "patients", methods=["GET", "POST"])
    assert client.get("/forgotten").status_code == 403
    assert [row.detail for row in audited(rows, "access.refused")] == [
        '{"method": "GET", "route": "/forgotten"}'
    ]
    client.cookies.clear()
    assert client.get("/forgotten").headers["location"] == "/login"


def test_an_admin_sees_a_study_but_no_image_unless_a_clinician_too(
    anonymous: Client, rows: Database
) -> None:
    with rows.begin() as session:
        uid = add_study(session).study_instance_uid
    become(rows, anonymous, "admin")
    page = anonymous.get("/studies/1")
    assert page.status_code == 200
    assert "preview.png" not in page.text
    assert anonymous.get("/studies/1/preview.png").status_code == 403
    [row] = audited(rows, "access.refused")
    assert (row.object_type, row.object_id, row.outcome) == ("study", uid, 8)
    become(rows, anonymous, "admin radiologist")
    assert "preview.png" in anonymous.get("/studies/1").text
    assert anonymous.get("/studies/1/preview.png").status_code == 404


def test_what_a_role_may_not_open_is_not_linked(anonymous: Client, rows: Database) -> None:
    with rows.begin() as session:
        add_study(session)
    for role in sorted(access.HOUSE):
        become(rows, anonymous, role)
        for page in ("/studies", "/studies/1"):
            links = set(re.findall(r'(?:href|action|src)="(/[a-z/.]+)"', anonymous.get(page).text))
            for link in links - {"/studies/", "/"}:
                known = {path for _, path in access.ROUTES}
                assert link not in known or any(
                    access.may([role], method, link) for method in ("GET", "POST")
                ), (role, page, link)
