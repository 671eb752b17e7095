"""What can be wrong with a study as a whole: order, interruptions, size, rejection, urgency."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pytest
import torch
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from sqlalchemy import select

from db.custody import CustodyRow
from db.engine import Database, now
from db.evidence import RejectedInstanceRow
from db.states import StudyState
from db.tables import AuditRow, DetectionRow, GenerationRow, InstanceRow, StudyRow
from tests.builders import dx, part10
from tests.conftest import opened, sqlite_copy
from tests.workers.house import House, house
from tests.workers.test_road import NOWHERE
from triage.assemble import read
from triage.record import load_arrivals
from triage.spool import Spool
from triage.study import InstanceRef, StudyRef

KO = UID("1.2.840.10008.5.1.4.1.1.88.59")
BYTES_AN_INSTANCE = 8_000


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def images(study: str, count: int, rows: int = 32) -> list[FileDataset]:
    """One study of one series, as positioned slices."""
    made = [dx(study=study, instance=number, seed=number, rows=rows) for number in range(count)]
    for one in made:
        one.SeriesInstanceUID = made[0].SeriesInstanceUID
    return made


@contextmanager
def another(migrated_file: Path, folder: Path) -> Iterator[House]:
    folder.mkdir()
    for database in opened(sqlite_copy(migrated_file, folder)):
        with house(database, folder / "state") as site:
            yield site


def scores(site: House) -> dict[str, list[tuple[str, float, float]]]:
    """The detections of each study, bit by bit."""
    with site.database.reading() as session:
        rows = session.execute(
            select(StudyRow.study_instance_uid, DetectionRow)
            .join(DetectionRow, DetectionRow.study_id == StudyRow.id)
            .order_by(DetectionRow.detector, DetectionRow.series_instance_uid)
        )
        found: dict[str, list[tuple[str, float, float]]] = {}
        for uid, one in rows:
            found.setdefault(uid, []).append((one.key_sop_instance_uid, one.score, one.p_value))
        return found


def test_order_and_interleaving_of_arrivals_change_no_bit_of_a_score(
    migrated_file: Path, tmp_path: Path
) -> None:
    one, two = images("order 1", 3, rows=128), images("order 2", 3, rows=128)
    orders = (
        [*one, *two],
        list(chain(*zip(reversed(one), two, strict=True))),
    )
    found = []
    for number, order in enumerate(orders):
        with another(migrated_file, tmp_path / str(number)) as site:
            site.receive(*order)
            site.make_due()
            site.worker.drain()
            found.append(scores(site))
    assert len(found[0]) == 2
    assert found[0] == found[1]


def test_an_instance_that_comes_during_the_analysis_makes_a_generation_of_its_own(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = images("meanwhile", 2, rows=128)
    with house(sqlite_database, tmp_path / "a") as site:
        detect = site.worker.bench.detect
        came: list[FileDataset] = []

        def interrupted(*given: object) -> object:
            if not came:
                came.append(second)
                site.receive(second)
            return detect(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(site.worker.bench, "detect", interrupted)
        site.receive(first)
        site.make_due()
        site.worker.drain()
        [study] = site.rows(StudyRow)
        assert study.state == StudyState.RECEIVING
        assert site.rows(DetectionRow) == []  # of the first generation: its worker was too late
        study = site.work()
        generations = {one.number for one in site.rows(GenerationRow)}
        [detection] = site.rows(DetectionRow)
        assert (study.generation, generations) == (2, {1, 2})
        assert (detection.generation, detection.analysed_count) == (2, 2)


def test_memory_grows_little_with_the_instances_of_a_study(tmp_path: Path) -> None:
    spool, count = Spool(tmp_path / "spool"), 200
    refs = []
    for one in images("large", count, rows=8):
        sha256, path = spool.store(spool.write(part10(one)))
        refs.append(InstanceRef(str(one.SOPInstanceUID), sha256, path))
    ref = StudyRef(1, "2.25.1", 1, "", tuple(refs))
    tracemalloc.start()
    study = read(ref)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(list(study.images())) == count
    assert kept / count < BYTES_AN_INSTANCE  # 160 MB for a study of 20,000


def rejection(code: str, rejected: list[FileDataset]) -> FileDataset:
    """A rejection note of the PACS, in the study itself."""
    note = dx(study="rejected", instance=99)
    del note.PixelData
    note.SOPClassUID = note.file_meta.MediaStorageSOPClassUID = KO
    note.SOPInstanceUID = note.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    note.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    note.Modality, note.SeriesInstanceUID = "KO", generate_uid()
    note.StudyInstanceUID = rejected[0].StudyInstanceUID
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = code, "DCM", "Rejected"
    note.ConceptNameCodeSequence = [title]
    series, study = Dataset(), Dataset()
    series.SeriesInstanceUID = rejected[0].SeriesInstanceUID
    series.ReferencedSOPSequence = []
    for one in rejected:
        item = Dataset()
        item.ReferencedSOPClassUID = one.SOPClassUID
        item.ReferencedSOPInstanceUID = one.SOPInstanceUID
        series.ReferencedSOPSequence.append(item)
    study.StudyInstanceUID, study.ReferencedSeriesSequence = note.StudyInstanceUID, [series]
    note.CurrentRequestedProcedureEvidenceSequence = [study]
    return note


class TestRejectionNotes:
    def test_a_study_rejected_at_its_source_is_held_without_its_flag_and_kept(
        self, database: Database, tmp_path: Path
    ) -> None:
        two = images("rejected", 2)
        with house(database, tmp_path / "a", routes=NOWHERE) as site:
            site.receive(*two)
            site.work()
            with site.database.begin() as session:
                study = session.scalars(select(StudyRow)).one()
                study.priority, study.priority_name = 2, "high"
            site.receive(rejection("113001", two))
            [study] = site.rows(StudyRow)
            assert (study.state, study.reason_code) == (StudyState.HELD, "retracted")
            assert (study.priority, study.priority_name) == (0, "")
            assert study.sentence == "Held. Rejected at its source for quality reasons."
            with site.database.reading() as session:
                assert len(session.scalars(select(InstanceRow)).all()) == 3
                rejected = session.scalars(select(RejectedInstanceRow)).all()
            assert {one.code for one in rejected} == {"113001"}
            assert "study.retracted" in {one.event_type for one in site.rows(AuditRow)}

    def test_what_is_left_of_a_study_is_assembled_without_what_was_rejected(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        two = images("rejected", 2)
        with house(sqlite_database, tmp_path / "a", routes=NOWHERE) as site:
            site.receive(*two)
            site.work()
            site.receive(rejection("113037", two[:1]))
            study = site.work()
            assert (study.state, study.generation) == (StudyState.REJECTED, 2)
            with site.database.reading() as session:
                aside = session.scalars(
                    select(InstanceRow.sop_instance_uid)
                    .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
                    .where(CustodyRow.set_aside)
                ).all()
                number = session.scalars(select(StudyRow.id)).one()
                ref = load_arrivals(session, number, site.settings.spool)
            assert aside == [two[0].SOPInstanceUID]
            held = {one.sop_instance_uid for one in ref.instances}
            assert two[0].SOPInstanceUID not in held
            assert two[1].SOPInstanceUID in held

    def test_key_objects_that_reject_nothing_are_a_late_instance(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        two = images("rejected", 2)
        with house(sqlite_database, tmp_path / "a", routes=NOWHERE) as site:
            site.receive(*two)
            site.work()
            site.receive(rejection("113000", two))
            [study] = site.rows(StudyRow)
        assert study.state == StudyState.RECEIVING


def test_an_urgent_study_behind_five_hundred_routine_ones_is_next(
    sqlite_database: Database, tmp_path: Path
) -> None:
    with house(sqlite_database, tmp_path / "a", routes=NOWHERE) as site:
        with site.database.begin() as session:
            at = now(session)
            session.add_all(
                StudyRow(
                    study_instance_uid=f"2.25.{number}", state=StudyState.RECEIVING, due_at=at,
                    received_at=at, last_instance_at=at,
                )
                for number in range(500)
            )  # fmt: skip
        urgent = dx(study="urgent")
        urgent.RequestedProcedurePriority = "STAT"
        site.receive(urgent)
        site.make_due()
        [(first, _)] = site.worker.due(limit=1)
        with site.database.reading() as session:
            assert session.get_one(StudyRow, first).study_instance_uid == urgent.StudyInstanceUID
