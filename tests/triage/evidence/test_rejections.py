"""A rejection note and what it rejects come in any order, and the study ends alike."""

from collections.abc import Iterable, Sequence
from itertools import permutations
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset
from sqlalchemy import select

from db.custody import ConflictRow, CustodyRow
from db.engine import Database
from db.evidence import RejectedInstanceRow
from db.states import StudyState
from db.tables import AuditRow, GenerationMemberRow, GenerationRow, InstanceRow
from tests.workers.house import House, house
from tests.workers.test_road import NOWHERE
from tests.workers.test_study_faults import images, rejection

ORDERS = ["".join(order) for order in permutations("abn")]
"""Two images and the note."""


def received(site: House, order: str, two: Sequence[FileDataset], note: FileDataset) -> None:
    named = {"a": two[0], "b": two[1], "n": note}
    for letter in order:
        site.receive(named[letter])


def aside(site: House) -> list[str]:
    """Give the SOP Instance UIDs of what is set aside."""
    with site.database.reading() as session:
        return sorted(
            session.scalars(
                select(InstanceRow.sop_instance_uid)
                .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
                .where(CustodyRow.set_aside)
            )
        )


def uids(datasets: Iterable[FileDataset]) -> list[str]:
    return sorted(str(one.SOPInstanceUID) for one in datasets)


def doubts(site: House) -> list[tuple[str, str]]:
    with site.database.reading() as session:
        rows = session.scalars(select(ConflictRow).order_by(ConflictRow.id)).all()
    return [(one.code, one.resolution) for one in rows]


def members(site: House) -> list[str]:
    """Give the SOP Instance UIDs of the last generation."""
    with site.database.reading() as session:
        last = session.scalars(select(GenerationRow).order_by(GenerationRow.id.desc())).all()[0]
        return sorted(
            session.scalars(
                select(InstanceRow.sop_instance_uid)
                .join(GenerationMemberRow, GenerationMemberRow.instance_id == InstanceRow.id)
                .where(GenerationMemberRow.generation_id == last.id)
            )
        )


class TestOrder:
    @pytest.mark.parametrize("order", ORDERS)
    def test_all_images_rejected_hold_the_study(
        self, database: Database, tmp_path: Path, order: str
    ) -> None:
        two = images("rejected", 2)
        with house(database, tmp_path / "a", routes=NOWHERE) as site:
            received(site, order, two, rejection("113001", two))
            study = site.work()
            assert (study.state, study.reason_code) == (StudyState.HELD, "retracted")
            assert study.sentence == "Held. Rejected at its source for quality reasons."
            assert aside(site) == uids(two)
            assert doubts(site) == [("retracted", "")]
            assert site.rows(GenerationRow) == []
            assert "study.retracted" in {one.event_type for one in site.rows(AuditRow)}

    @pytest.mark.parametrize("order", ORDERS)
    def test_what_is_not_rejected_is_analysed(
        self, database: Database, tmp_path: Path, order: str
    ) -> None:
        two = images("rejected", 2)
        note = rejection("113037", two[:1])
        with house(database, tmp_path / "a", routes=NOWHERE) as site:
            received(site, order, two, note)
            study = site.work()
            assert (study.state, study.reason_code) == (StudyState.REJECTED, "no-route")
            assert aside(site) == uids(two[:1])
            assert members(site) == uids([two[1], note])
            assert set(doubts(site)) <= {("retracted", "corrected")}

    @pytest.mark.parametrize("order", ORDERS)
    def test_ends_alike_where_the_study_comes_to_rest_between(
        self, sqlite_database: Database, tmp_path: Path, order: str
    ) -> None:
        two = images("rejected", 2)
        note = rejection("113001", two)
        with house(sqlite_database, tmp_path / "a", routes=NOWHERE) as site:
            for letter in order:
                received(site, letter, two, note)
                study = site.work()
            assert (study.state, study.reason_code) == (StudyState.HELD, "retracted")
            assert (study.priority, study.priority_name) == (0, "")
            assert aside(site) == uids(two)


class TestLater:
    def test_an_image_that_no_note_rejects_lets_the_study_go_on(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        three = images("rejected", 3)
        with house(sqlite_database, tmp_path / "a", routes=NOWHERE) as site:
            site.receive(*three[:2], rejection("113001", three[:2]))
            assert site.work().state == StudyState.HELD
            site.receive(three[2])
            study = site.work()
            assert (study.state, study.reason_code) == (StudyState.REJECTED, "no-route")
            assert aside(site) == uids(three[:2])

    def test_what_is_no_image_does_not(self, sqlite_database: Database, tmp_path: Path) -> None:
        one, report = images("rejected", 2)
        del report.PixelData
        report.Modality = "SR"
        with house(sqlite_database, tmp_path / "a", routes=NOWHERE) as site:
            site.receive(one, rejection("113001", [one]), report)
            study = site.work()
        assert (study.state, study.reason_code) == (StudyState.HELD, "retracted")

    def test_a_report_beside_the_rejected_images_leaves_nothing_to_analyse(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        one, report = images("rejected", 2)
        del report.PixelData
        report.Modality = "SR"
        with house(sqlite_database, tmp_path / "a", routes=NOWHERE) as site:
            site.receive(one, report, rejection("113001", [one]))
            study = site.work()
        assert (study.state, study.reason_code) == (StudyState.HELD, "retracted")

    def test_a_newer_header_of_a_rejected_image_is_rejected(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        [one], [other] = images("rejected", 1), images("rejected", 1)
        other.PatientBirthDate = "19700101"
        with house(sqlite_database, tmp_path / "a", routes=NOWHERE) as site:
            site.receive(one, rejection("113001", [one]), other)
            study = site.work()
            assert (study.state, study.reason_code) == (StudyState.HELD, "retracted")
            assert aside(site) == uids([one, other])

    def test_another_study_is_not_touched(self, database: Database, tmp_path: Path) -> None:
        [one], [other] = images("rejected", 1), images("other", 1)
        with house(database, tmp_path / "a", routes=NOWHERE) as site:
            note = rejection("113001", [one])
            site.receive(note, other)
            assert aside(site) == []

    @pytest.mark.filterwarnings("ignore:.*Invalid value for VR UI")
    def test_names_that_no_instance_can_have_are_passed_over(
        self, database: Database, tmp_path: Path
    ) -> None:
        one, odd = images("rejected", 2)
        note = rejection("113001", [one, odd])
        study = note.CurrentRequestedProcedureEvidenceSequence[0]
        item = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[1]
        item.ReferencedSOPInstanceUID = "1." * 40
        with house(database, tmp_path / "a", routes=NOWHERE) as site:
            site.receive(note, one)
            assert aside(site) == uids([one])
            with site.database.reading() as session:
                assert len(session.scalars(select(RejectedInstanceRow)).all()) == 1

    def test_a_note_that_names_very_many_is_taken(
        self, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("triage.evidence.rejections.FEW", 1)
        two = images("rejected", 2)
        with house(database, tmp_path / "a", routes=NOWHERE) as site:
            site.receive(two[0], rejection("113001", two), two[1])
            assert site.work().state == StudyState.HELD
            assert aside(site) == uids(two)
