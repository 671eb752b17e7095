"""Generated requests to every route, as every role: no answer is a fault, and the table holds.

The OpenAPI document is made inside; the application serves none.
"""

import os
from typing import Any, Final

import hypothesis
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck
from sqlalchemy import select

from db.engine import Database
from db.tables import UserRow
from tests.triage.worklist.builders import add_instance, add_result, add_study
from tests.triage.worklist.client import Client
from tests.triage.worklist.test_access import become, csrf_of
from triage.ups import tokens
from triage.worklist import access
from triage.worklist.access import ANONYMOUS, Role
from triage.worklist.signin import Throttle

TEMPLATES: Final = {path.replace(":path}", "}"): path for _, path in access.ROUTES}
"""How the document writes a path, to how the table does."""
HARD: Final = 500
COUNT: Final = int(os.environ.get("TRIAGE_EXAMPLES", "1"))
"""Requests to each route as each role; a search is TRIAGE_EXAMPLES=50."""
CASES: Final[dict[tuple[str, str], list[Any]]] = {}
"""The generated requests, which every role sends."""


def operations(app: FastAPI) -> list[Any]:
    schema: Any = schemathesis.openapi.from_dict(app.openapi())
    return [one.ok() for one in schema.get_all_operations()]


def generated(operation: Any) -> list[Any]:  # noqa: ANN401 - schemathesis's
    """Give requests to one operation, the same ones every time."""
    cases: list[Any] = []

    @hypothesis.settings(
        max_examples=COUNT, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck), phases=[hypothesis.Phase.generate],
    )  # fmt: skip
    @hypothesis.given(case=operation.as_strategy())
    def collect(case: Any) -> None:  # noqa: ANN401 - schemathesis's
        cases.append(case)

    collect()
    return cases


def headers_of(client: Client, rows: Database, who: str, token: str) -> dict[str, str]:
    """Be somebody, freshly: an earlier request may have signed out or disabled the account."""
    client.cookies.clear()
    if who == ANONYMOUS:
        return {}
    if who == Role.SERVICE:
        return {"Authorization": f"Bearer {token}"}
    with rows.begin() as session:
        session.scalars(select(UserRow).order_by(UserRow.id)).first().disabled = False  # type: ignore[union-attr]
    become(rows, client, who)
    return {"X-CSRF-Token": csrf_of(rows)}


def ask(client: Client, case: Any, headers: dict[str, str]) -> Any:  # noqa: ANN401 - its own
    sent = case.as_transport_kwargs(base_url="http://triage.test")
    body = {key: sent[key] for key in ("data", "json", "files") if sent.get(key) is not None}
    plain = {key: value for key, value in (sent.get("headers") or {}).items() if value is not None}
    return client.request(
        sent["method"], sent["url"], params=sent.get("params"), headers={**plain, **headers}, **body
    )


def problem(method: str, path: str, who: str, answer: Any) -> str:  # noqa: ANN401 - httpx's
    """Give what is wrong with an answer; nothing where it is as the table says."""
    if answer.status_code >= HARD:
        return f"{method} {path} as {who}: {answer.status_code}"
    roles = access.allowed(method, path)
    refused = answer.status_code == 403 and access.REFUSED in answer.text
    outside = answer.status_code == 401 or answer.headers.get("location", "").startswith("/login")
    if ANONYMOUS in roles or access.opens_in_emergency(method, path) or path == "/logout":
        return ""
    opened = not (outside if who == ANONYMOUS else refused)
    return "" if opened == (who in roles) else f"{method} {path} as {who}: opened={opened}"


@pytest.mark.parametrize("who", [ANONYMOUS, *Role])
def test_no_request_breaks_a_route_and_none_opens_what_is_not_for_its_role(
    app: FastAPI, anonymous: Client, rows: Database, who: str
) -> None:
    with rows.begin() as session:
        study = add_study(session, "prioritised")
        add_instance(session, study)
        add_result(session, study)
        token = tokens.add(session, "program", sorted(tokens.SCOPES), actor="test")
    found: list[str] = []
    for operation in operations(app):
        headers = headers_of(anonymous, rows, who, token)
        app.state.throttle = Throttle()
        method, path = operation.method.upper(), TEMPLATES.get(operation.path, operation.path)
        if (method, path) not in CASES:
            CASES[method, path] = generated(operation)
        found += [
            problem(method, path, who, ask(anonymous, case, headers))
            for case in CASES[method, path]
        ]
    assert len(found) >= len(access.ROUTES) // 2
    assert [one for one in found if one] == []


def test_the_application_serves_no_document_of_itself(client: Client) -> None:
    for path in ("/openapi.json", "/docs", "/redoc"):
        assert client.get(path).status_code == 404
