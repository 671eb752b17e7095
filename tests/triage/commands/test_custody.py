"""The commands of custody say in tables and in JSON what the rows hold."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from db import schema
from tests.builders import dx, spooled
from triage import settings as noun
from triage.__main__ import app
from triage.commands import common
from triage.ingest import ingest_all
from triage.spool import Spool


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A site that received one UID in two contents, and another study."""
    settings = noun.load(tmp_path)
    schema.upgrade(settings.database_url)
    spool = Spool(settings.spool)
    spooled(spool, dx(study="b7", seed=1), dx(study="b7", seed=2), dx(study="fine", seed=3))
    with common.opened(settings) as database:
        ingest_all(database, spool, settings.site.completeness)
    return tmp_path


def said(state: Path, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*words, "--state", str(state)])
    assert done.exit_code == code, done.output
    return done.output


def test_each_command_works_on_a_real_site(state: Path) -> None:
    found = json.loads(said(state, "custody", "1", "--json"))
    assert [one["fate"] for one in found["instances"]] == ["open: its study is held"] * 2
    assert "sop_instance_uid" in said(state, "custody", "2")
    [doubt] = json.loads(said(state, "conflict", "ls", "--json"))
    assert (doubt["code"], doubt["weight"]) == ("content-conflict", "hold")
    assert "keep-2" in said(state, "conflict", "show", "1")
    words = ("conflict", "resolve", "1", "keep-2", "--reason", "the second is whole")
    assert "is resolved: keep-2" in said(state, *words)
    assert "Nothing is in doubt." in said(state, "conflict", "ls")
    assert json.loads(said(state, "conflict", "ls", "--all", "--json"))[0]["resolution"] == "keep-2"
    totals = json.loads(said(state, "reconcile", "--json"))
    assert (totals["received"], totals["still_open"], totals["excluded"]) == (3, 2, 1)
    assert totals["balanced"] is True
    assert "3 files, 3 known, 0 indexed" in said(state, "rebuild-index")
    assert json.loads(said(state, "purge", "--dry-run", "--json")) == {
        "dry_run": True, "studies": [], "documents_of": 0, "promised": 0,
    }  # fmt: skip
    assert "The images of 0 studies" in said(state, "purge")


def test_a_lost_row_fails_the_sum_and_comes_back(state: Path) -> None:
    from sqlalchemy import delete

    from db.custody import CustodyRow
    from db.tables import InstanceRow

    with common.opened(noun.load(state)) as database, database.begin() as session:
        session.execute(delete(CustodyRow).where(CustodyRow.instance_id == 3))
        session.execute(delete(InstanceRow).where(InstanceRow.id == 3))
    assert "triage rebuild-index" in said(state, "reconcile", code=1)
    assert json.loads(said(state, "rebuild-index", "--json"))["indexed"] == 1
    said(state, "reconcile")
