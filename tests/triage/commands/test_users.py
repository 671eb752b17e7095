"""``triage user``: accounts from the console."""

import json
from collections.abc import Callable
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from db.engine import Database, connect
from db.tables import AuditRow
from triage import settings as noun
from triage.__main__ import app
from triage.errors import TriageError
from triage.settings import Web
from triage.worklist import access, sessions
from triage.worklist.auth import NotAccepted

PASSWORD = "a long password"
Run = Callable[..., Result]


@pytest.fixture
def run(state: Path) -> Run:
    def invoke(*words: str, said: str = "") -> Result:
        return CliRunner().invoke(app, ["user", *words, "--state", str(state)], input=said)

    return invoke


def database(state: Path) -> Database:
    return connect(noun.load(state).database_url)


def enters(state: Path, name: str, password: str = PASSWORD) -> bool:
    rows = database(state)
    found = sessions.sign_in(rows, Web(), name, password, "")
    rows.dispose()
    return found is not None and not found.needs


def listed(run: Run) -> dict[str, dict[str, object]]:
    return {one["name"]: one for one in json.loads(run("ls", "--json").output)}


def test_an_account_is_made_listed_disabled_and_enabled(run: Run, state: Path) -> None:
    assert run("add", "boss", "--role", "admin", said=f"{PASSWORD}\n").exit_code == 0
    made = run("add", "dr.x", "--role", "technologist", "--role", "radiologist",
               said=f"{PASSWORD}\n")  # fmt: skip
    assert made.exit_code == 0
    assert PASSWORD not in made.output
    found = listed(run)["dr.x"]
    assert (found["roles"], found["disabled"], found["vouched_by"]) == (
        "radiologist technologist", False, "password",
    )  # fmt: skip
    assert enters(state, "dr.x")
    assert run("disable", "dr.x").exit_code == 0
    assert not enters(state, "dr.x")
    assert run("enable", "dr.x").exit_code == 0
    assert enters(state, "dr.x")


def test_a_password_is_changed_and_a_lock_is_taken_off(run: Run, state: Path) -> None:
    run("add", "dr.x", "--role", "radiologist", said=f"{PASSWORD}\n")
    assert run("password", "dr.x", said="another long one\n").exit_code == 0
    assert not enters(state, "dr.x")
    for _ in range(10):
        enters(state, "dr.x", "wrong")
    assert listed(run)["dr.x"]["locked_until"]
    assert not enters(state, "dr.x", "another long one")
    assert run("unlock", "dr.x").exit_code == 0
    assert enters(state, "dr.x", "another long one")


@pytest.mark.parametrize(
    ("words", "said", "why"),
    [
        (("add", "dr.y", "--role", "chief"), PASSWORD, "The roles of people are"),
        (("add", "dr.y", "--role", "service"), PASSWORD, "The roles of people are"),
        (("add", "dr.y", "--role", "admin", "--role", "auditor"), PASSWORD, "none of them"),
        (("add", "dr.y", "--role", "admin"), "short", "12 to"),
        (("add", "boss", "--role", "admin"), PASSWORD, "already an account"),
        (("role", "boss", "--role", "radiologist"), "", "last administrator"),
        (("disable", "boss"), "", "last administrator"),
        (("disable", "nobody"), "", "no account of this name"),
    ],
)
def test_what_must_not_be_is_refused_and_changes_nothing(
    run: Run, words: tuple[str, ...], said: str, why: str
) -> None:
    run("add", "boss", "--role", "admin", said=f"{PASSWORD}\n")
    before = listed(run)
    done = run(*words, said=f"{said}\n")
    assert isinstance(done.exception, NotAccepted)
    assert isinstance(done.exception, TriageError)  # of which the command line makes a sentence
    assert why in str(done.exception)
    assert listed(run) == before


def test_a_second_factor_is_given_and_taken_on_the_console(run: Run, state: Path) -> None:
    run("add", "boss", "--role", "admin", said=f"{PASSWORD}\n")
    told = run("factor", "boss").output
    uri = next(line for line in told.splitlines() if line.startswith("otpauth://"))
    assert len(pyotp.parse_uri(uri).secret) == 32
    assert not enters(state, "boss")
    assert listed(run)["boss"]["second_factor"] is True
    assert run("factor", "boss", "--remove").exit_code == 0
    assert enters(state, "boss")


def test_every_change_is_audited_with_who_made_it(run: Run, state: Path) -> None:
    run("add", "boss", "--role", "admin", said=f"{PASSWORD}\n")
    run("role", "boss", "--role", "admin", "--role", "radiologist")
    run("password", "boss", said="another long one\n")
    rows = database(state)
    with rows.reading() as session:
        found = session.scalars(select(AuditRow).order_by(AuditRow.id)).all()
    rows.dispose()
    assert [one.event_type for one in found] == ["user.created", "role.changed", "password.changed"]
    assert {one.event_id for one in found} == {"110113"}
    assert all(one.actor for one in found)
    assert json.loads(found[1].detail) == {"before": "admin", "after": "admin radiologist"}
    assert "another long one" not in "".join(one.detail for one in found)


def test_the_matrix_is_printed(run: Run) -> None:
    assert CliRunner().invoke(app, ["user", "matrix"]).output == access.matrix()
