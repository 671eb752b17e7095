"""The audit trail asked and proved whole, from the command line."""

import csv
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import UpdateBase, delete, text, update

from db import audit
from db.audit import Entry, Event
from db.engine import Database, now
from db.tables import AuditRow, AuditSealRow, StudyRow
from tests.triage.commands.cli import triage
from tests.triage.trail.schema import valid
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


@pytest.mark.parametrize("form", ["csv", "json", "atna", "fhir"])
def test_the_trail_is_handed_on_in_four_forms_and_that_is_on_record(
    site: dict[str, str], form: str, tmp_path: Path
) -> None:
    out = tmp_path / "trail"
    answer = triage("audit", "export", str(out), "--format", form, "--user", "ada", **site)
    assert answer.code == OK
    assert out.stat().st_mode & 0o777 == 0o600
    lines = out.read_text().splitlines()
    studies = [uid for line in lines for uid in ("1.2.3", "1.2.4") if uid in line]
    assert studies == ["1.2.4", "1.2.3"]
    if form == "csv":
        [*told] = csv.DictReader(lines)
        assert [row["event_type"] for row in told] == ["study.analysed", "study.held"]
    elif form == "atna":
        assert all(valid(line.encode()).tag == "AuditMessage" for line in lines)
    else:
        assert all(json.loads(line) for line in lines)
    (row,) = triage("audit", "query", "--json", "--event", "audit.exported", **site).json
    assert (row["event_id"], json.loads(row["detail"])["format"]) == ("110106", form)


def test_a_patient_is_asked_for_by_id_and_the_trail_does_not_repeat_it(
    site: dict[str, str], database: Database
) -> None:
    with database.begin() as session:
        session.add(
            StudyRow(
                study_instance_uid="1.2.3", patient_id="CANARY-7", due_at=now(session),
                received_at=now(session),
                last_instance_at=now(session),
            )
        )  # fmt: skip
    found = triage("audit", "query", "--json", "--patient", "CANARY-7", **site).json
    assert [row["event_type"] for row in found] == ["study_held", "study.held"]
    assert triage("audit", "query", "--json", "--patient", "nobody", **site).json == []
    (_, one) = triage("audit", "query", "--json", "--event", "audit.used", **site).json[-2:]
    assert json.loads(one["detail"])["patient"] is True
    everything = triage("audit", "query", "--json", "--limit", "99", **site).json
    assert "CANARY" not in json.dumps(everything)


def test_shipping_without_a_repository_says_what_to_write(site: dict[str, str]) -> None:
    answer = triage("audit", "ship", "--once", **site)
    assert answer.code == SETUP
    assert "audit.collectors" in answer.err


def test_grants_are_printed_for_postgresql_and_for_nothing_else(
    site: dict[str, str], url: str
) -> None:
    answer = triage("db", "grants", "--program", "app", "--auditor", "eve", **site)
    if url.startswith("sqlite"):
        assert answer.code == 2
        return
    assert answer.code == OK
    assert "GRANT SELECT, INSERT ON audit TO app;" in answer.out
    assert "GRANT SELECT ON audit_logins TO eve;" in answer.out
