"""Storage Commitment from the C-STORE to the word "committed", through listener and ingestor."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from db.delivery import CommitmentRow
from db.engine import Database
from db.states import StudyState
from db.tables import AuditRow, OutboxRow
from tests.builders import dx
from tests.servers import orthanc
from tests.triage.committer import Committer, committing
from tests.triage.receive.conftest import soon
from tests.workers.house import House, house
from tests.workers.test_road import NOWHERE, REPORTED
from triage import settings as configuration
from triage.destinations import Dimse
from triage.ingest import ingest_all
from triage.receive.listener import Listener
from triage.settings import Listener as Limits
from triage.settings import Site
from triage.spool import Spool


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    """A listener on the spool of the site ``a``."""
    limits = Site(listener=Limits(port=0, min_free_bytes=1, peers="any"))
    settings = configuration.load(tmp_path / "a").model_copy(update={"site": limits})
    one = Listener(settings)
    one.start()
    yield one
    one.stop(within_s=5)


def sent(site: House) -> OutboxRow:
    """Receive a study, send its report, ask for commitment."""
    site.receive(dx())
    study = site.work()
    assert study.state == StudyState.DELIVERED
    return document(site)


def document(site: House) -> OutboxRow:
    [row] = site.rows(OutboxRow)
    return row


def transactions(database: Database) -> list[CommitmentRow]:
    with database.reading() as session:
        return list(session.scalars(select(CommitmentRow).order_by(CommitmentRow.id)))


def ingest(site: House) -> None:
    ingest_all(site.database, Spool(site.settings.spool), site.settings.site.completeness)


def kinds(site: House) -> list[str]:
    return [row.event_type for row in site.rows(AuditRow)]


def site_of(database: Database, tmp_path: Path, pacs: Dimse) -> AbstractContextManager[House]:
    return house(database, tmp_path / "a", pacs, reporting=REPORTED, routes=NOWHERE)


def test_sent_is_not_committed_until_the_pacs_reports_on_an_association_of_its_own(
    database: Database, tmp_path: Path, listener: Listener
) -> None:
    with committing(script := Committer()) as pacs, site_of(database, tmp_path, pacs) as site:
        row = sent(site)
        assert (row.state, row.commitment, row.committed_at) == ("sent", "asked", None)
        [asked] = transactions(database)
        assert (asked.transaction_uid, asked.outcome) == (script.asked[0].TransactionUID, "")
        assert script.report_to(listener.port) == [0x0000]
        ingest(site)
        row = document(site)
        assert (row.state, row.commitment, row.due_at) == ("sent", "committed", None)
        assert row.committed_at is not None
        assert script.report_to(listener.port) == [0x0000]  # twice is once
        ingest(site)
    assert kinds(site).count("commitment.committed") == 1
    assert Spool(site.settings.spool).reports(9) == []
    assert len(script.stored) == 1


def test_a_report_on_the_same_association_commits_at_once(
    database: Database, tmp_path: Path
) -> None:
    with committing(Committer(at_once=True)) as pacs, site_of(database, tmp_path, pacs) as site:
        assert sent(site).commitment == "committed"


def test_what_the_pacs_does_not_keep_is_sent_again_and_at_last_told(
    database: Database, tmp_path: Path
) -> None:
    script = Committer(at_once=True, failure=0x0112)
    with committing(script) as pacs, site_of(database, tmp_path, pacs) as site:
        row = sent(site)
    assert len(script.stored) == 4
    assert len(set(script.stored)) == 1
    assert (row.state, row.commitment, row.due_at) == ("sent", "denied", None)
    assert row.last_error == "not kept, says the destination (0x0112)"
    assert [one.failure_reason for one in transactions(database)] == [0x0112] * 4
    [alert] = [one for one in site.rows(AuditRow) if one.event_type == "commitment.denied"]
    assert alert.event_id == "110113"


def test_silence_is_asked_again_and_at_last_told(database: Database, tmp_path: Path) -> None:
    with committing(script := Committer()) as pacs, site_of(database, tmp_path, pacs) as site:
        sent(site)
        site.work()
        assert document(site).commitment == "asked"
        assert len({one.TransactionUID for one in script.asked}) == 2
        with database.begin() as session:
            row = session.scalars(select(OutboxRow)).one()
            assert row.sent_at is not None
            row.sent_at -= timedelta(seconds=pacs.commitment_timeout_s + 1)
        site.work()
        row = document(site)
        assert (row.commitment, row.due_at) == ("overdue", None)
        assert "commitment.overdue" in kinds(site)
        assert len(script.stored) == 1


def test_a_late_report_still_commits(
    database: Database, tmp_path: Path, listener: Listener
) -> None:
    with committing(script := Committer()) as pacs, site_of(database, tmp_path, pacs) as site:
        sent(site)
        with database.begin() as session:
            session.scalars(select(OutboxRow)).one().commitment = "overdue"
        script.report_to(listener.port)
        ingest(site)
        assert document(site).commitment == "committed"


def test_a_request_that_is_not_taken_is_made_again(database: Database, tmp_path: Path) -> None:
    script = Committer(at_once=True, statuses=[0x0213, 0x0000])
    with committing(script) as pacs, site_of(database, tmp_path, pacs) as site:
        row = sent(site)
        assert (row.commitment, row.last_error) == (
            "due", "pacs did not take the request for Storage Commitment (0x0213)",
        )  # fmt: skip
        site.work()
        assert document(site).commitment == "committed"


def test_a_report_that_nobody_asked_for_is_an_alert_and_changes_nothing(
    database: Database, tmp_path: Path, listener: Listener
) -> None:
    with committing(script := Committer()) as pacs, site_of(database, tmp_path, pacs) as site:
        sent(site)
        script.asked[0].TransactionUID = "2.25.666"
        assert script.report_to(listener.port) == [0x0000]
        ingest(site)
        assert document(site).commitment == "asked"
        assert "commitment.unknown" in kinds(site)


def test_orthanc_commits_to_what_it_keeps(
    database: Database, tmp_path: Path, listener: Listener
) -> None:
    known = {"us": ["TRIAGE", "127.0.0.1", listener.port]}
    with orthanc(tmp_path / "orthanc", DicomModalities=known) as server:
        pacs = Dimse(
            name="pacs", ae_title=server.ae_title, host="127.0.0.1", port=server.dicom_port,
            commitment=True,
        )  # fmt: skip
        with site_of(database, tmp_path, pacs) as site:
            assert sent(site).state == "sent"
            assert soon(lambda: bool(Spool(site.settings.spool).reports(1)), seconds=15)
            ingest(site)
            row = document(site)
    assert (row.commitment, row.last_error) == ("committed", None)
