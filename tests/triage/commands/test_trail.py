"""The audit trail asked and proved whole, from the command line."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import UpdateBase, delete, text, update

from db import audit
from db.audit import Entry, Event
from db.engine import Database
from db.tables import AuditRow, AuditSealRow
from tests.triage.commands.cli import triage
from triage.commands.common import FAILED, OK, SETUP
from triage.settings import load
from workers.housekeeping import remember, seal

pytestmark = pytest.mark.usefixtures("rows")


@pytest.fixture
def site(url: str, tmp_path: Path) -> dict[str, str]:
    return {"TRIAGE__DATABASE__URL": url, "TRIAGE_STATE": str(tmp_path / "state")}


@pytest.fixture
def rows(database: Database) -> None:
    """Three rows of two people about two studies."""
    for actor, study, kind in (
        ("ada", "1.2.3", "study.held"),
        ("ada", "1.2.4", "study.analysed"),
        ("bob", "1.2.3", "study_held"),
    ):
        with database.begin() as session:
            audit.record(
                session,
                Entry(
                    event=Event.PROCEDURE_RECORD, kind=kind, action="U", actor=actor,
                    object_type="study", object_id=study,
                ),
            )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        ([], ["study_held", "study.analysed", "study.held"]),
        (["--study", "1.2.3"], ["study_held", "study.held"]),
        (["--user", "ada"], ["study.analysed", "study.held"]),
        (["--event", "study."], ["study.analysed", "study.held"]),
        (["--event", "study_"], ["study_held"]),
        (["--event", "110103"], []),
        (["--limit", "1"], ["study_held"]),
        (["--study", "1.2.3", "--user", "ada"], ["study.held"]),
        (["--since", "2999-01-01"], []),
        (["--since", "2020-01-01"], ["study_held", "study.analysed", "study.held"]),
    ],
    ids=lambda value: " ".join(value) or "none",
)
def test_a_question_gives_the_rows_that_fit_newest_first(
    site: dict[str, str], words: list[str], kinds: list[str]
) -> None:
    answer = triage("audit", "query", "--json", *words, **site)
    assert answer.code == OK
    assert [row["event_type"] for row in answer.json] == kinds


def test_since_is_utc_to_the_second(site: dict[str, str]) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    before = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    assert triage("audit", "query", "--json", "--since", soon, **site).json == []
    assert len(triage("audit", "query", "--json", "--since", before, **site).json) > 2


def test_asking_is_itself_audited(site: dict[str, str]) -> None:
    triage("audit", "query", "--event", "study.", **site)
    triage("audit", "verify", **site)
    used = triage("audit", "query", "--json", "--event", "110101", **site).json
    assert [row["event_type"] for row in used] == ["audit.used", "audit.used"]
    assert used[0]["actor"] not in ("", None)
    assert '"rows": 2' in used[1]["detail"]
    assert "audit.used" in triage("audit", "query", "--event", "audit", **site).out


def test_a_whole_trail_is_proved_and_says_how_many_rows(site: dict[str, str]) -> None:
    answer = triage("audit", "verify", "--json", **site)
    assert answer.code == OK
    assert answer.json["ok"] is True
    assert (answer.json["sealed"], answer.json["unsealed"]) == (4, 0)  # three, and the asking


def without_guards(database: Database, statement: UpdateBase) -> None:
    """Do what somebody with the database's own password can do."""
    if database.engine.dialect.name == "sqlite":
        words = str(statement.compile(compile_kwargs={"literal_binds": True}))
        with closing(sqlite3.connect(str(database.engine.url.database))) as connection:
            guards = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for (name,) in guards.fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            connection.execute(words)
            connection.commit()
        return
    with database.begin() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(statement)


def noted(database: Database, site: dict[str, str], tmp_path: Path) -> None:
    """Seal the rows, and remember the head outside the database."""
    seal(database)
    remember(database, load(tmp_path / "state"))


@pytest.mark.parametrize(
    "statement",
    [
        update(AuditRow).where(AuditRow.id == 2).values(actor="eve"),
        delete(AuditRow).where(AuditRow.id == 2),
        delete(AuditSealRow).where(AuditSealRow.seq == 2),
    ],
    ids=["a changed row", "a removed row", "a removed seal"],
)
def test_tampering_is_found_and_named(
    database: Database, site: dict[str, str], tmp_path: Path, statement: UpdateBase
) -> None:
    noted(database, site, tmp_path)
    without_guards(database, statement)
    answer = triage("audit", "verify", "--json", **site)
    assert answer.code == FAILED
    assert answer.json["ok"] is False
    assert answer.json["first_bad_seq"] == 2
    assert "Broken at 2" in triage("audit", "verify", **site).err


def test_a_tail_cut_off_with_its_seals_is_found_by_the_remembered_head(
    database: Database, site: dict[str, str], tmp_path: Path
) -> None:
    noted(database, site, tmp_path)
    without_guards(database, delete(AuditSealRow).where(AuditSealRow.seq >= 2))
    without_guards(database, delete(AuditRow).where(AuditRow.id >= 2))
    answer = triage("audit", "verify", "--json", **site)
    assert answer.code == FAILED
    assert answer.json["problem"]


def test_a_changed_file_of_heads_is_named(
    database: Database, site: dict[str, str], tmp_path: Path
) -> None:
    noted(database, site, tmp_path)
    path = tmp_path / "state" / "audit.checkpoints"
    path.write_text(path.read_text().replace("3 ", "2 ", 1))
    answer = triage("audit", "verify", **site)
    assert answer.code == SETUP
    assert str(path) in answer.err
