"""``triage study text``: what the outbox's report says, for a dictation."""

from pathlib import Path

import pytest

from db.engine import Database
from db.tables import StudyRow
from tests.builders import dx, spooled
from tests.triage.commands.cli import triage
from tests.triage.outputs import studies
from triage.commands.common import OK, SETUP
from triage.finding import Document
from triage.ingest import ingest_all
from triage.outputs import plain_text, structured_report
from triage.record.rows import outbox_row
from triage.settings import Completeness
from triage.spool import Spool


@pytest.fixture
def site(sqlite_database: Database, tmp_path: Path) -> dict[str, str]:
    spool = Spool(tmp_path / "spool")
    spooled(spool, dx())
    ingest_all(sqlite_database, spool, Completeness(quiet_s=60, quiet_s_by_modality={}))
    url = sqlite_database.engine.url.render_as_string(hide_password=False)
    return {"TRIAGE__DATABASE__URL": url, "TRIAGE_STATE": str(tmp_path / "state")}


def queue(database: Database, generation: int, document: Document) -> None:
    with database.begin() as session:
        study = session.get_one(StudyRow, 1)
        session.add(outbox_row(session, study, generation, f"pacs {generation}", document))


def test_it_is_the_text_of_the_latest_report(
    sqlite_database: Database, site: dict[str, str]
) -> None:
    path = studies.bundled("CT_small.dcm")
    texts = []
    for generation, p_value in ((1, 0.5), (2, 0.001)):
        assessment = studies.assessed([path], p_value=p_value, generation=generation)
        context = studies.context()
        queue(sqlite_database, generation, structured_report.build(assessment, context))
        text = plain_text.build(assessment, context)
        queue(sqlite_database, generation, text)
        texts.append(text.content.decode().splitlines())
    answer = triage("study", "text", 1, **site)
    assert answer.code == OK, answer.err
    assert answer.out.splitlines() == texts[1] != texts[0]
    assert triage("study", "text", 1, "--json", **site).json["lines"] == texts[1]


def test_a_study_without_a_report_says_what_to_look_at(site: dict[str, str]) -> None:
    answer = triage("study", "text", 1, **site)
    assert answer.code == SETUP
    assert "triage study show 1" in answer.err
