"""Same UID with other bytes, two patients, corrections, copies: held or warned, and resolved."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage, generate_uid
from sqlalchemy import select

from db.custody import ConflictRow, CustodyRow
from db.engine import Database
from db.states import StudyState
from db.tables import AuditRow, GenerationRow, InstanceRow, OutboxRow, StudyRow
from tests.builders import dx
from tests.triage.peers import Scripted, scripted
from tests.workers.house import House, house
from tests.workers.test_road import NOWHERE, REPORTED
from triage.record import conflicts
from triage.record.conflicts import NoSuchChoice, NoSuchConflict, Option
from triage.record.withdrawals import Who

STORAGE = (Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage)
ADA = Who("ada", "admin", "127.0.0.1")


@pytest.fixture
def site(sqlite_database: Database, tmp_path: Path) -> Iterator[House]:
    """Everything is "not analysed", and reported to a PACS that takes it."""
    with (
        scripted(Scripted(), storage=STORAGE) as pacs,
        house(sqlite_database, tmp_path, pacs, reporting=REPORTED, routes=NOWHERE) as one,
    ):
        yield one


def of(dataset: FileDataset, **elements: str) -> FileDataset:
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def doubts(site: House) -> list[tuple[str, str]]:
    with site.database.reading() as session:
        return [(one.code, one.weight) for one in conflicts.list_open(session)]


def the_options(site: House, number: int = 1) -> list[Option]:
    with site.database.reading() as session:
        return list(conflicts.options(session, session.get_one(ConflictRow, number)))


def resolve(site: House, choice: str, number: int = 1, reason: str = "I asked the ward") -> None:
    with site.database.begin() as session:
        conflicts.resolve(session, number, choice, reason, ADA)


def study(site: House) -> StudyRow:
    [row] = site.rows(StudyRow)
    return row


def fates(site: House) -> list[tuple[str, str]]:
    with site.database.reading() as session:
        rows = session.scalars(select(CustodyRow).order_by(CustodyRow.instance_id))
        return [(one.fate, one.fate_code) for one in rows]


def sent(site: House) -> list[str]:
    return [one.state for one in site.rows(OutboxRow)]


class TestOneUidWithTwoContents:
    def test_it_is_held_without_a_report_until_a_person_keeps_one(self, site: House) -> None:
        site.receive(dx(study="b7", seed=1), dx(study="b7", seed=2))
        assert site.work().state == StudyState.HELD
        assert (doubts(site), sent(site)) == ([("content-conflict", "hold")], [])
        [first, second, _] = the_options(site)
        assert (first.code, second.code) == ("keep-1", "keep-2")
        resolve(site, "keep-2")
        assert site.work().state == StudyState.DELIVERED
        assert fates(site) == [("excluded", "set-aside"), ("excluded", "no-route")]
        assert doubts(site) == []

    def test_after_the_report_it_is_held_all_the_same(self, site: House) -> None:
        site.receive(dx(study="b7", seed=1))
        assert site.work().state == StudyState.DELIVERED
        site.receive(dx(study="b7", seed=2))
        assert site.work().state == StudyState.HELD

    def test_a_report_that_waits_when_it_comes_is_not_sent(self, site: House) -> None:
        site.receive(dx(study="b7", seed=1))
        site.make_due()
        for number, _ in site.worker.due():
            site.worker.run(number)
        assert sent(site) == ["queued"]
        site.receive(dx(study="b7", seed=2))
        assert site.work().state == StudyState.HELD
        assert sent(site) == ["queued"]
        resolve(site, "keep-1")
        assert site.work().state == StudyState.DELIVERED
        assert sent(site) == ["withdrawn", "sent"]


class TestTwoPatients:
    def test_the_kept_patient_is_the_lists_and_the_other_is_set_aside(self, site: House) -> None:
        site.receive(dx(study="c5"), dx(study="c5", patient="P2", instance=2))
        assert site.work().state == StudyState.HELD
        with site.database.reading() as session:
            alerts = session.scalars(select(AuditRow).where(AuditRow.event_id == "110113")).all()
        assert [one.event_type for one in alerts] == ["study.held.identity-conflict"]
        resolve(site, "keep-2")
        row = site.work()
        assert (row.state, row.patient_id) == (StudyState.DELIVERED, "P2")
        assert fates(site) == [("excluded", "set-aside"), ("excluded", "no-route")]

    def test_one_patient_id_with_two_names_gets_no_report(self, site: House) -> None:
        site.receive(dx(study="c6"), of(dx(study="c6", instance=2), PatientName="Someone^Else"))
        row = site.work()
        assert (row.state, row.reason_code) == (StudyState.HELD, "identity-conflict")
        assert [one.code[:5] for one in the_options(site)] == ["keep-", "keep-", "dismi"]

    def test_a_correction_of_every_instance_lets_it_go_by_itself(self, site: House) -> None:
        both = [dx(study="fix", instance=number) for number in (1, 2)]
        site.receive(*both)
        assert site.work().state == StudyState.DELIVERED
        site.receive(of(both[0], PatientID="P9"))
        assert study(site).state == StudyState.HELD
        site.receive(of(both[1], PatientID="P9"))
        assert doubts(site) == []
        row = site.work()
        assert (row.state, row.patient_id, row.generation) == (StudyState.DELIVERED, "P9", 2)
        assert sent(site) == ["sent", "sent"]


class TestCorrections:
    def test_a_new_name_is_followed_without_a_new_report(self, site: House) -> None:
        image = dx(study="b8")
        site.receive(image)
        site.work()
        site.receive(of(image, PatientName="Married^Name"))
        row = site.work()
        assert (row.state, row.generation, row.patient_name) == (
            StudyState.DELIVERED, 1, "Married^Name",
        )  # fmt: skip
        assert doubts(site) == [("demographics-changed", "warning")]
        with site.database.reading() as session:
            kinds = list(session.scalars(select(AuditRow).where(AuditRow.event_id == "110110")))
        assert [one.event_type for one in kinds] == ["patient.revised"]

    def test_an_admin_has_it_reported_anew(self, site: House) -> None:
        image = dx(study="c7")
        site.receive(image)
        site.work()
        site.receive(of(image, PatientName="Married^Name"))
        resolve(site, "reissue")
        row = site.work()
        assert (row.state, row.generation, sent(site)) == (
            StudyState.DELIVERED, 2, ["sent", "sent"],
        )  # fmt: skip

    def test_before_the_report_it_is_simply_the_newer_header(self, site: House) -> None:
        image = dx(study="early")
        site.receive(image)
        site.receive(of(image, PatientBirthDate="19700101"))
        row = site.work()
        assert (row.state, row.generation) == (StudyState.DELIVERED, 1)
        assert fates(site)[0] == ("excluded", "revised")
        assert doubts(site) == []


class TestOtherStudies:
    def test_a_patient_id_with_another_name_elsewhere_is_warned_of(self, site: House) -> None:
        site.receive(dx(), of(dx(seed=5), PatientName="Someone^Else"))
        assert doubts(site) == [("identity-differs", "warning")]
        assert {one.state for one in site.rows(StudyRow)} == {StudyState.RECEIVING}

    def test_a_name_written_otherwise_is_no_other_name(self, site: House) -> None:
        site.receive(dx(), of(dx(seed=5), PatientName="CANARY^name^^"))
        assert doubts(site) == []

    def test_the_same_pixels_under_new_uids_are_noted(self, site: House) -> None:
        site.receive(dx(seed=7), of(dx(seed=7, patient="ANON"), SOPInstanceUID=generate_uid()))
        assert doubts(site) == [("possible-copy", "note")]
        resolve(site, "acknowledge")
        assert doubts(site) == []


class TestResolving:
    def test_a_dismissed_study_is_not_analysed_and_its_report_taken_back(self, site: House) -> None:
        site.receive(dx(study="gone"))
        site.work()
        site.receive(dx(study="gone", patient="P2", instance=2))
        resolve(site, "dismiss")
        row = site.work()
        assert (row.state, row.outcome, row.reason_code) == (
            StudyState.REJECTED, "not analysed", "set-aside",
        )  # fmt: skip
        assert set(sent(site)) == {"withdrawn", "sent"}
        assert [one.kind for one in site.rows(OutboxRow) if one.state == "sent"] == [
            "rejection_note"
        ]
        site.receive(dx(study="gone", instance=3))
        assert study(site).state == StudyState.HELD

    def test_it_needs_a_reason_a_known_choice_and_an_open_doubt(self, site: House) -> None:
        site.receive(dx(study="b7", seed=1), dx(study="b7", seed=2))
        with pytest.raises(NoSuchChoice, match="say why"):
            resolve(site, "keep-1", reason=" ")
        with pytest.raises(NoSuchChoice, match="keep-1, keep-2, dismiss"):
            resolve(site, "keep-7")
        resolve(site, "keep-1")
        with pytest.raises(NoSuchConflict):
            resolve(site, "keep-1")

    def test_it_is_audited_with_who_and_what(self, site: House) -> None:
        site.receive(dx(study="b7", seed=1), dx(study="b7", seed=2))
        resolve(site, "keep-1")
        with site.database.reading() as session:
            [row] = session.scalars(
                select(AuditRow).where(AuditRow.event_type == "conflict.resolved")
            )
        assert (row.actor, row.actor_role) == ("ada", "admin")
        assert "keep-1" in row.detail

    def test_a_wrong_worklist_entry_is_released_or_dismissed(self, site: House) -> None:
        from db.conflicts import hold

        site.receive(dx(study="mpps"))
        with site.database.begin() as session:
            row = session.scalars(select(StudyRow)).one()
            hold(session, row, "wrong-worklist-entry", "the modality said so", actor="mpps")
        assert [one.code for one in the_options(site)] == ["release", "dismiss"]
        resolve(site, "release")
        assert site.work().state == StudyState.DELIVERED


def test_twice_the_same_bytes_make_no_doubt_and_no_generation(site: House) -> None:
    site.receive(dx(study="b6"))
    site.work()
    for _ in range(4):
        site.receive(dx(study="b6"))
    row = site.work()
    assert (row.generation, len(site.rows(GenerationRow)), doubts(site)) == (1, 1, [])
    with site.database.reading() as session:
        assert session.scalars(select(InstanceRow.copies)).all() == [5]
