"""Years that are over leave the database for an archive; the trail and the archive are proved."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select

from db.engine import Database
from db.tables import AuditRow
from tests.db.test_audit import OLD, seal_all
from tests.triage.commands.cli import triage, write_site
from triage.commands.common import FAILED, OK, SETUP
from triage.settings import load
from workers import housekeeping, nightly

LONG_AGO = datetime(2015, 1, 15, 12, tzinfo=UTC)


@pytest.fixture
def site(url: str, tmp_path: Path) -> dict[str, str]:
    return {"TRIAGE__DATABASE__URL": url, "TRIAGE_STATE": str(tmp_path / "state")}


@pytest.fixture
def old(database: Database, site: dict[str, str], tmp_path: Path) -> Database:
    """Three rows of long ago, sealed and noted outside."""
    with database.begin() as session:
        for number in range(3):
            values = {**OLD, "detail": json.dumps({"n": number})}
            session.add(AuditRow(at=LONG_AGO, **values))
            session.flush()
    seal_all(database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIAGE__DATABASE__URL", site["TRIAGE__DATABASE__URL"])
        housekeeping.remember(database, load(tmp_path / "state"))
    return database


def rows(database: Database) -> int:
    with database.reading() as session:
        old = AuditRow.at < LONG_AGO.replace(year=2016)
        return session.scalar(select(func.count()).select_from(AuditRow).where(old)) or 0


def test_they_go_into_an_archive_and_both_are_proved(
    old: Database, site: dict[str, str], tmp_path: Path
) -> None:
    dry = triage("audit", "retire", "--dry-run", "--json", **site)
    assert (dry.json["rows"], rows(old)) == (3, 3)
    assert (
        triage("audit", "retire", "--before", "2015-01-31", **site).out == "No row is that old.\n"
    )
    answer = triage("audit", "retire", "--before", "2015-02-01", "--json", **site)
    assert (answer.code, answer.json["rows"], rows(old)) == (OK, 3, 0)
    archive = Path(answer.json["archive"])
    assert archive.stat().st_mode & 0o777 == 0o600
    with gzip.open(archive, "rt") as file:
        assert [json.loads(line)["row"]["detail"] for line in file] == [
            '{"n": 0}', '{"n": 1}', '{"n": 2}',
        ]  # fmt: skip
    found = triage("audit", "verify", "--json", **site)
    assert (found.code, found.json["ok"], found.json["retired"]) == (OK, True, 3)
    assert "after 3 retired, whole" in triage("audit", "verify", **site).out
    assert triage("audit", "verify", "--archive", str(archive), **site).out == "3 rows, whole.\n"
    (told,) = triage("audit", "query", "--json", "--event", "audit.retired", **site).json
    assert json.loads(told["detail"])["archive"] == archive.name
    assert triage("audit", "retire", **site).out == "No row is that old.\n"


def test_without_the_signed_bridge_the_missing_beginning_is_found(
    old: Database, site: dict[str, str], tmp_path: Path
) -> None:
    assert triage("audit", "retire", **site).code == OK
    path = tmp_path / "state" / "audit.retired"
    signed = path.read_text()
    path.unlink()
    answer = triage("audit", "verify", "--json", **site)
    assert (answer.code, answer.json["problem"]) == (FAILED, "seal 1 is missing")
    path.write_text(signed.replace('"rows":3', '"rows":2'))
    assert triage("audit", "verify", **site).code == SETUP


@pytest.mark.parametrize(
    ("was", "becomes"),
    [('n\\": 1', 'n\\": 7'), ('"seq": 2', '"seq": 3')],
    ids=["edited", "renumbered"],
)
def test_a_changed_archive_is_found(
    old: Database, site: dict[str, str], was: str, becomes: str, tmp_path: Path
) -> None:
    archive = Path(triage("audit", "retire", "--json", **site).json["archive"])
    plain = gzip.decompress(archive.read_bytes()).decode()
    changed = plain.replace(was, becomes)
    assert changed != plain
    archive.write_bytes(gzip.compress(changed.encode()))
    answer = triage("audit", "verify", "--archive", str(archive), "--json", **site)
    assert (answer.code, answer.json["ok"]) == (FAILED, False)
    elsewhere = tmp_path / "copy.jsonl.gz"  # a name that no bridge knows: the chain alone tells
    elsewhere.write_bytes(archive.read_bytes())
    answer = triage("audit", "verify", "--archive", str(elsewhere), "--json", **site)
    assert (answer.code, answer.json["rows"]) == (FAILED, 1)
    elsewhere.write_bytes(b"nonsense")
    assert triage("audit", "verify", "--archive", str(elsewhere), **site).code == SETUP


@pytest.mark.parametrize(
    ("audit", "words", "says"),
    [
        ({"retention_years": None}, [], "for ever"),
        ({}, ["--before", "2999-01-01"], "must stay"),
        (
            {"collectors": [{"kind": "syslog", "name": "arr", "host": "127.0.0.1"}]}, [],
            "arr does not have these rows yet",
        ),
    ],
)  # fmt: skip
def test_what_must_stay_stays(
    old: Database, site: dict[str, str], tmp_path: Path, audit: object, words: list[str], says: str
) -> None:
    write_site(tmp_path / "state", audit=audit)
    answer = triage("audit", "retire", *words, **site)
    assert answer.code != OK
    assert says in answer.err
    assert rows(old) == 3


def test_the_nightly_work_does_it_and_says_so_where_it_may_not(
    old: Database, site: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIAGE__DATABASE__URL", site["TRIAGE__DATABASE__URL"])
    write_site(tmp_path / "state", audit={"retention_years": 100})
    nightly.work(old, load(tmp_path / "state"))
    assert rows(old) == 3
    write_site(tmp_path / "state", audit={"retention_years": 6})
    (tmp_path / "state" / "audit-retired").write_text("in the way")
    nightly.work(old, load(tmp_path / "state"))
    assert rows(old) == 3
    (tmp_path / "state" / "audit-retired").unlink()
    nightly.work(old, load(tmp_path / "state"))
    assert rows(old) == 0
