"""After a deletion every place is searched: a patient is left where docs/custody.md says, only."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine import Database, now
from db.feedback import OF_THE_STUDY, FeedbackRow
from db.outbox import QUEUED, SENT
from db.runs import MapRow
from db.tables import AuditRow, OutboxRow, StudyRow, UserRow
from tests.house.source import ROOT
from tests.path.canaries import marked
from tests.path.test_canaries import leaks, tables_with_canaries
from tests.triage.peers import Scripted, scripted
from tests.triage.record.test_custody import FEW_DAYS, age, purged, stored
from tests.workers.house import House, house
from triage import maps
from triage.record.letters import NothingToResend, resend
from triage.record.loads import load_former_reports
from triage.record.purge_documents import count_due, purge_documents
from triage.record.withdrawals import NothingToWithdraw, Who, withdraw
from triage.retention import Retention

STAYS = {"study", "study_text", "custody", "series_arrival", "station_pace"}
"""Tables that keep a patient when all is deleted that can be, each named in docs/custody.md."""
AT_ONCE = Retention(images_days=1e-6, maps_days=1e-6)
EVERYTHING = Retention(images_days=1e-6, maps_days=1e-6, documents_days=1e-6)


@pytest.fixture
def site(sqlite_database: Database, tmp_path: Path) -> Iterator[House]:
    """One study in research mode: analysed, its report delivered, its map kept."""
    with (
        scripted(Scripted()) as pacs,
        house(sqlite_database, tmp_path, pacs, intended_use={"mode": "research"}) as one,
    ):
        dataset = marked(1, study="deleted", rows=128)
        one.receive(dataset)
        assert one.work().outcome in ("prioritised", "not prioritised")
        yield one


def test_files_and_maps_go_on_record_and_only_what_the_page_says_stays(
    site: House, tmp_path: Path
) -> None:
    [image], sent = stored(site), documents(site)
    with site.database.reading() as session:
        [name] = session.scalars(select(MapRow.sha256)).all()
    kept = maps.path_of(site.settings.results, name)
    assert kept.exists()
    assert str(image) in leaks(tmp_path)
    age(site)
    assert purged(site, AT_ONCE) == 1
    assert not kept.exists()
    rows = str(site.database.engine.url.database)
    assert [one for one in leaks(tmp_path) if not one.startswith(rows)] == []
    assert tables_with_canaries(site.database) == STAYS | {"outbox"}
    assert documents(site) == sent
    deleted = {one.event_type: one for one in site.rows(AuditRow) if one.event_id == "110105"}
    assert set(deleted) == {"study.purged", "maps.purged"}
    assert deleted["study.purged"].object_id == site.rows(StudyRow)[0].study_instance_uid


def documents(site: House) -> list[tuple[str, bytes]]:
    return [(one.sha256, one.content) for one in site.rows(OutboxRow)]


def test_documents_go_after_the_images_and_leave_their_digests(site: House) -> None:
    sent = documents(site)
    assert sent
    age(site)
    with site.database.begin() as session:
        answer(session, now(session) - FEW_DAYS)  # long since made a report, or not to be one
    assert purge_documents(site.database, EVERYTHING, actor="test") == 0  # the image is there
    assert purged(site, AT_ONCE) == 1
    assert purge_documents(site.database, AT_ONCE, actor="test") == 0  # the site did not say so
    assert count_due(site.database, EVERYTHING) == 1
    assert purge_documents(site.database, EVERYTHING, actor="test") == 1
    assert count_due(site.database, EVERYTHING) == 0
    assert purge_documents(site.database, EVERYTHING, actor="test") == 0
    assert documents(site) == [(digest, b"") for digest, _ in sent]
    assert all(one.purged_at for one in site.rows(OutboxRow))
    assert tables_with_canaries(site.database) == STAYS
    [deleted] = [one for one in site.rows(AuditRow) if one.event_type == "documents.purged"]
    assert (deleted.event_id, deleted.actor) == ("110105", "test")
    assert deleted.object_id == site.rows(StudyRow)[0].study_instance_uid


@pytest.mark.parametrize("news", ["a document to send", "a withdrawal", "feedback"])
def test_documents_that_something_is_yet_written_from_stay(site: House, news: str) -> None:
    age(site)
    assert purged(site, AT_ONCE) == 1
    sent = documents(site)
    with site.database.begin() as session:
        if news == "a document to send":
            session.scalars(select(OutboxRow)).one().state = QUEUED
        elif news == "a withdrawal":
            withdraw(session, 1, "wrong-patient", Who("admin"))
        else:
            answer(session, now(session))
    assert count_due(site.database, EVERYTHING) == 0
    assert purge_documents(site.database, EVERYTHING, actor="test") == 0
    assert documents(site) == sent


def answer(session: Session, at: datetime) -> None:
    """Have a reader agree."""
    reader = UserRow(name="r", password_hash="-", role="radiologist", created_at=at)
    session.add(reader)
    session.flush()
    row = FeedbackRow(
        study_id=1, generation=1, subject=OF_THE_STUDY, number=1, user_id=reader.id, reader="r",
        reader_role="radiologist", verdict="agree", outcome="prioritised", state="delivered",
        mode="research", at=at,
    )  # fmt: skip
    session.add(row)


def test_what_was_deleted_is_neither_sent_again_nor_withdrawn_nor_asked_for(site: House) -> None:
    age(site)
    assert purged(site, AT_ONCE) == 1
    assert purge_documents(site.database, EVERYTHING, actor="test") == 1
    [study] = site.rows(StudyRow)
    numbers = [one.id for one in site.rows(OutboxRow)]
    with site.database.begin() as session:
        with pytest.raises(NothingToResend):
            resend(session, numbers, Who("admin"))
        with pytest.raises(NothingToWithdraw, match="reject them in the archive"):
            withdraw(session, study.id, "wrong-patient", Who("admin"))
        assert load_former_reports(session, study.id) == ()
    assert {one.state for one in site.rows(OutboxRow)} == {SENT}


@pytest.mark.parametrize("table", sorted({*STAYS, "outbox"}))
def test_the_page_names_every_table_that_keeps_a_patient(table: str) -> None:
    page = (ROOT / "docs" / "custody.md").read_text(encoding="utf-8")
    stays = page.partition("## What a deletion leaves")[2].partition("\n## ")[0]
    assert f"`{table}`" in stays
