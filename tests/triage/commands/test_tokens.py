"""``triage token``: made once, listed without its secret, ended."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from db.engine import connect
from db.tables import AuditRow
from triage import settings as noun
from triage.__main__ import app
from triage.ups import tokens


def run(state: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["token", *words, "--state", str(state)])


def test_a_token_is_made_listed_and_ended(state: Path) -> None:
    made = run(state, "add", "ris", "--scope", "worklist", "--scope", "reader", "--days", "30")
    token = made.output.strip()
    assert len(token) >= 43
    (row,) = json.loads(run(state, "ls", "--json").output)
    assert (row["name"], row["roles"], row["revoked_at"]) == ("ris", "reader worklist", None)
    left = datetime.fromisoformat(row["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)
    assert token not in run(state, "ls").output
    database = connect(noun.load(state).database_url)
    with database.reading() as session:
        found = tokens.holder(session, token, "")
        assert found is not None
        assert found.roles == {"reader", "worklist"}
    assert run(state, "revoke", "ris").exit_code == 0
    with database.reading() as session:
        assert tokens.holder(session, token, "") is None
        kinds = list(session.scalars(select(AuditRow.event_type).order_by(AuditRow.id)))
        kept = " ".join(session.scalars(select(AuditRow.detail)))
    database.dispose()
    assert kinds == ["token.created", "token.revoked"]
    assert token not in kept


@pytest.mark.parametrize("scopes", [["everything"], ["worklist", "admin"]])
def test_an_unknown_scope_makes_no_token(state: Path, scopes: list[str]) -> None:
    done = run(state, "add", "ris", *(word for one in scopes for word in ("--scope", one)))
    assert isinstance(done.exception, tokens.BadToken)
    assert "one or several of" in str(done.exception)
    assert json.loads(run(state, "ls", "--json").output) == []
