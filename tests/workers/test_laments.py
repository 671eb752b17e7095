"""A study that killed its worker each time has a report of that, once."""

from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pydicom

from db import lifecycle
from db.engine import Database
from db.states import StudyState
from db.tables import AuditRow, OutboxRow
from tests.builders import dx
from tests.triage.peers import REFUSED, Scripted, scripted
from tests.workers.house import House, house
from workers.housekeeping import bury

pytestmark = [REFUSED]
REPORTS = {"failed": True}


def killed(site: House, database: Database) -> None:
    """Close a study's generation, then let three workers die over it."""
    site.receive(dx())
    site.make_due()
    lanes, site.worker.lanes = site.worker.lanes, None
    ((study_id, state),) = site.worker.due()
    assert state == StudyState.RECEIVING
    assert site.worker.run(study_id)
    for _ in range(3):
        with database.begin() as session:
            claim = lifecycle.claim(
                session, study_id, [StudyState.READY], owner="gone:x:1:1",
                lease=timedelta(seconds=60), max_attempts=3,
            )  # fmt: skip
            assert claim is not None
        with database.begin() as session:
            lifecycle.abandon(session, ["gone:x:1:1"])
    assert bury(database, 3) == 1
    site.worker.lanes = lanes


def test_a_study_that_killed_its_workers_is_reported_as_failed_once(
    sqlite_database: Database, tmp_path: Path
) -> None:
    script = Scripted()
    with (
        scripted(script) as pacs,
        house(sqlite_database, tmp_path, pacs, reporting=REPORTS) as site,
    ):
        killed(site, sqlite_database)
        assert site.rows(OutboxRow) == []
        study = site.work()
        (row,) = site.rows(OutboxRow)
        assert (study.state, study.outcome, study.reason_code) == ("failed", "failed", "crashed")
        assert row.state == "sent"
        site.work()
        begun = [one for one in site.rows(AuditRow) if one.event_type == "report.of-failure"]
    assert len(begun) == 1
    assert len(script.stored) == 1
    report = pydicom.dcmread(BytesIO(row.content))
    codes = {
        str(item.ConceptCodeSequence[0].CodeMeaning)
        for part in report.ContentSequence
        for item in part.get("ContentSequence", ())
        if item.ValueType == "CODE"
    }
    assert any("ailed" in one for one in codes), codes


def test_a_site_that_wants_no_such_reports_gets_none(
    sqlite_database: Database, tmp_path: Path
) -> None:
    script = Scripted()
    with scripted(script) as pacs, house(sqlite_database, tmp_path, pacs) as site:
        killed(site, sqlite_database)
        site.work()
        assert site.rows(OutboxRow) == []
    assert script.stored == []
