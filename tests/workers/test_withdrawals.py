"""A report taken back: sent no further, and a rejection note follows it to whoever has it."""

import io
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage
from sqlalchemy import select

from db.delivery import WithdrawalRow
from db.engine import Database
from db.states import StudyState
from db.tables import AuditRow, OutboxRow
from tests.builders import dx
from tests.servers import free_port
from tests.triage.peers import REFUSED, Scripted, destination, scripted
from tests.workers.house import House, house
from tests.workers.test_road import NOWHERE, REPORTED
from triage.record import withdrawals
from triage.record.withdrawals import NothingToWithdraw, Who

STORAGE = (Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage)
ADA = Who("ada", "admin", "127.0.0.1")
SILENT = {"reporting": REPORTED, "routes": NOWHERE}


def withdraw(site: House, reason: str = "wrong-result") -> int:
    with site.database.begin() as session:
        return withdrawals.withdraw(session, 1, reason, ADA)


def states(site: House) -> dict[tuple[str, str], str]:
    return {(row.destination, row.kind): row.state for row in site.rows(OutboxRow)}


def notes(script: Scripted) -> list[Dataset]:
    """Give the Key Object Selections that arrived."""
    read = [pydicom.dcmread(io.BytesIO(one), force=True) for one in script.stored]
    return [one for one in read if one.SOPClassUID == KeyObjectSelectionDocumentStorage]


def rejected(note: Dataset) -> list[str]:
    [study] = note.CurrentRequestedProcedureEvidenceSequence
    return [
        str(item.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]


def test_a_note_follows_the_report_it_takes_back(database: Database, tmp_path: Path) -> None:
    script = Scripted()
    with (
        scripted(script, storage=STORAGE) as pacs,
        house(database, tmp_path, pacs, **SILENT) as site,
    ):
        site.receive(dx())
        site.work()
        assert withdraw(site) == 1
        study = site.work()
    [report, note] = site.rows(OutboxRow)
    assert (report.state, note.kind, note.state) == ("withdrawn", "rejection_note", "sent")
    [arrived] = notes(script)
    assert rejected(arrived) == [report.sop_instance_uid]
    assert arrived.ConceptNameCodeSequence[0].CodeValue == "113037"
    assert study.state == StudyState.DELIVERED
    with database.reading() as session:
        [row] = session.scalars(select(WithdrawalRow))
    assert (row.actor, row.reason) == ("ada", "wrong-result")
    assert row.note_sop_instance_uid == note.sop_instance_uid
    kinds = [one.event_type for one in site.rows(AuditRow)]
    assert kinds[-3:] == ["report.withdrawn", "rejection-note.written", "report.sent"]


def test_a_report_is_taken_back_once(database: Database, tmp_path: Path) -> None:
    with (
        scripted(Scripted(), storage=STORAGE) as pacs,
        house(database, tmp_path, pacs, **SILENT) as site,
    ):
        site.receive(dx())
        site.work()
        withdraw(site)
        with pytest.raises(NothingToWithdraw, match="no report to withdraw"):
            withdraw(site)


@REFUSED
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_who_does_not_have_it_never_gets_it_nor_a_note(database: Database, tmp_path: Path) -> None:
    script = Scripted()
    away = destination(free_port(), "AWAY", name="away")
    with (
        scripted(script, storage=STORAGE) as pacs,
        house(database, tmp_path / "a", pacs, away, **SILENT) as site,
    ):
        site.receive(dx())
        assert site.work().state == StudyState.ANALYSED
        withdraw(site, "wrong-patient")
        study = site.work()
        assert study.state == StudyState.DELIVERED  # nothing of it is left to send
        assert states(site) == {
            ("pacs", "structured_report"): "withdrawn",
            ("away", "structured_report"): "withdrawn",
            ("pacs", "rejection_note"): "sent",
        }
    assert len(notes(script)) == 1


def test_who_may_have_it_gets_the_note(database: Database, tmp_path: Path) -> None:
    script = Scripted(abort=True)
    with (
        scripted(script, storage=STORAGE) as pacs,
        house(database, tmp_path, pacs, **SILENT) as site,
    ):
        site.receive(dx())
        site.work()
        assert site.rows(OutboxRow)[0].in_doubt
        withdraw(site)
        script.abort = False
        site.work()
    assert states(site) == {
        ("pacs", "structured_report"): "withdrawn",
        ("pacs", "rejection_note"): "sent",
    }


@pytest.mark.parametrize("wanted", [True, False])
def test_a_new_generation_takes_the_old_report_back_where_the_site_wants_it(
    database: Database, tmp_path: Path, wanted: bool
) -> None:
    script = Scripted()
    with (
        scripted(script, storage=STORAGE) as pacs,
        house(database, tmp_path, pacs, delivery={"reject_superseded": wanted}, **SILENT) as site,
    ):
        site.receive(dx(study="grows"))
        site.work()
        site.receive(dx(study="grows", instance=2))
        study = site.work()
    assert (study.state, study.generation) == (StudyState.DELIVERED, 2)
    reports = [row for row in site.rows(OutboxRow) if row.kind == "structured_report"]
    assert [row.state for row in reports] == ["withdrawn" if wanted else "sent", "sent"]
    assert [rejected(one) for one in notes(script)] == (
        [[reports[0].sop_instance_uid]] if wanted else []
    )
    if wanted:
        assert notes(script)[0].ConceptNameCodeSequence[0].CodeValue == "113001"
