"""``triage rebuild-index`` takes each kept file by itself: one that is bad ends nothing."""

import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID
from sqlalchemy import select, text

from db.audit import SERIOUS, SUCCESS
from db.engine import Database, connect
from db.tables import AuditRow, InstanceRow
from tests.builders import dx
from tests.triage.ingested import LONG, RULES, overlong, put, quarantined, studies
from triage.commands.rebuild import Progress, Rebuilt, rebuild
from triage.commands.rebuild_passed import Passed, Stopped
from triage.errors import REASONS
from triage.evidence import ended
from triage.record import generations, reconcile
from triage.spool import Spool, digest, stored_path

PERFORMED_STEP = "1.2.840.10008.3.1.2.3.3"
Harm = Callable[[Path], None]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def kept(spool: Spool, *datasets: FileDataset) -> list[Path]:
    """Give files that only the spool knows, as after the database was lost; a second apart."""
    found, first = [], time.time() - len(datasets)
    for number, path in enumerate(put(spool, *datasets)):
        os.utime(path, (first + number, first + number))
        found.append(spool.store(path)[1])
        spool.release(path)
    return found


def three(spool: Spool) -> list[Path]:
    """Give kept files of three studies, in the order in which they are read."""
    return sorted(kept(spool, *(dx(study=f"s{seed}", seed=seed) for seed in range(3))))


def nobody(*_told: object) -> None:
    return None


def rebuilt(database: Database, spool: Spool, progress: Progress = nobody) -> Rebuilt:
    return rebuild(database, spool, RULES, actor="test", progress=progress)


def indexed(database: Database) -> set[str]:
    with database.reading() as session:
        return set(session.scalars(select(InstanceRow.sha256)))


def stems(*paths: Path) -> set[str]:
    return {path.stem for path in paths}


def audited(database: Database) -> AuditRow:
    """Give the audit row of the last run."""
    with database.reading() as session:
        return session.scalars(
            select(AuditRow)
            .where(AuditRow.event_type == "index.rebuilt")
            .order_by(AuditRow.id.desc())
        ).all()[0]


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_bad_sector(path: Path) -> None:
    """Nothing is mapped where this file begins: to read it is EIO."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


def as_lost_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all")


def as_changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def as_rubbish(path: Path) -> None:
    path.write_bytes(b"no DICOM any more" * 99)


@pytest.mark.parametrize(
    ("harm", "code", "detail"),
    [
        (as_folder, "unreadable", "IsADirectoryError EISDIR"),
        (as_bad_sector, "unreadable", "OSError EIO"),
        (as_lost_link, "unreadable", "FileNotFoundError ENOENT"),
        (as_changed, "corrupt", ""),
        (as_rubbish, "corrupt", ""),
    ],
)
def test_a_bad_file_is_named_and_those_behind_it_are_indexed(
    database: Database, spool: Spool, harm: Harm, code: str, detail: str
) -> None:
    bad, *good = three(spool)
    harm(bad)
    for known, count in ((0, 2), (2, 0)):  # again changes nothing
        done = rebuilt(database, spool)
        assert (done.files, done.known, done.indexed, done.quarantined) == (3, known, count, 0)
        assert done.passed_over == [Passed(bad.stem[:12], code, detail)]
        assert done.corrupt == ([bad.stem] if code == "corrupt" else [])
        assert indexed(database) == stems(*good)
        row = audited(database)
        assert (row.outcome, json.loads(row.detail)["passed_over"]) == (SERIOUS, {code: 1})
    assert quarantined(database) == []


def test_a_file_that_can_be_read_again_is_indexed_then(database: Database, spool: Spool) -> None:
    bad, *good = three(spool)
    content = bad.read_bytes()
    as_folder(bad)
    rebuilt(database, spool)
    bad.rmdir()
    bad.write_bytes(content)
    done = rebuilt(database, spool)
    assert (done.known, done.indexed, done.passed_over) == (2, 1, [])
    assert indexed(database) == stems(bad, *good)
    assert audited(database).outcome == SUCCESS


def test_what_never_was_readable_goes_to_quarantine_and_is_known_then(
    database: Database, spool: Spool
) -> None:
    good = three(spool)
    draft = spool.root / "draft"
    draft.write_bytes(b"no DICOM at all" * 99)
    sha256 = digest(draft)
    draft.rename(stored_path(spool.root, sha256))
    done = rebuilt(database, spool)
    assert (done.indexed, done.quarantined) == (3, 1)
    assert done.passed_over == [Passed(sha256[:12], "unparsable", "unreadable: InvalidDicomError")]
    [row] = quarantined(database)
    assert (row.sha256, row.reason_code) == (sha256, "unparsable")
    assert (spool.root / "quarantine" / f"{sha256}.dcm").exists()
    again = rebuilt(database, spool)
    assert (again.known, again.indexed, again.quarantined, again.passed_over) == (4, 0, 0, [])
    assert indexed(database) == stems(*good)


def test_what_lies_in_quarantine_alone_is_shown_again(
    database: Database, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a prior that nobody asked for does, after the database was lost."""
    [prior, _] = put(spool, dx(study="prior"), dx(study="other"))
    sha256 = digest(prior)
    spool.quarantine(prior, sha256)
    spool.release(prior)
    (spool.root / "quarantine" / "what.dcm").write_bytes(b"a person's")
    odd = spool.root / "quarantine" / f"{'0' * 64}.dcm"
    differences = reconcile.differences(reconcile.reconcile(database, spool.root, actor="test"))
    assert differences == []  # its row may be on its way
    monkeypatch.setattr(reconcile, "WAITING_S", -60.0)
    monkeypatch.setattr(reconcile, "_look_at_waiting", lambda *_: None)
    [told] = reconcile.differences(reconcile.reconcile(database, spool.root, actor="test"))
    assert (told.code, told.count, told.example) == ("no-quarantine-row", 1, sha256[:12])
    odd.symlink_to("nowhere")
    done = rebuilt(database, spool)
    assert (done.found, done.quarantined, done.indexed) == (1, 0, 0)
    assert [(one.file, one.code) for one in done.passed_over] == [("0" * 12, "unreadable")]
    odd.unlink()
    [row] = quarantined(database)
    assert (row.sha256, row.reason_code) == (sha256, "found-in-quarantine")
    assert row.reason_code in REASONS
    assert row.size_bytes == (spool.root / "quarantine" / f"{sha256}.dcm").stat().st_size
    assert '"found": 1' in audited(database).detail
    assert reconcile.reconcile(database, spool.root, actor="test").balanced
    assert rebuilt(database, spool).found == 0


def test_what_postgresql_refuses_of_one_file_leaves_the_others_of_its_study(
    postgres_database: Database, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triage.arrival.fitted", lambda _keyword, value: value)
    bad, first = kept(spool, overlong("PatientID", LONG, study="a"), dx(study="a", instance=2))
    other = kept(spool, dx(study="b", seed=1))[0]
    done = rebuilt(postgres_database, spool)
    detail = "the database refuses it: 54000"
    assert done.passed_over == [Passed(bad.stem[:12], "unindexable", detail)]
    assert (done.indexed, done.studies, done.quarantined) == (2, 2, 1)
    assert indexed(postgres_database) == stems(first, other)
    [row] = quarantined(postgres_database)
    assert (row.sha256, row.reason_code, row.reason_detail) == (bad.stem, "unindexable", detail)
    again = rebuilt(postgres_database, spool)
    assert (again.known, again.indexed, again.passed_over) == (3, 0, [])


def test_a_row_that_a_constraint_refuses_is_its_files_own(
    sqlite_database: Database, spool: Spool
) -> None:
    trigger = (
        "CREATE TRIGGER refuses BEFORE INSERT ON instance WHEN NEW.modality = 'XX' "
        "BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with sqlite_database.begin() as session:
        session.execute(text(trigger))
    strange = dx(study="a", seed=7, instance=2)
    strange.Modality = "XX"
    [bad, *good] = kept(spool, strange, dx(study="a"), dx(study="b"))
    for count in (2, 0):
        done = rebuilt(sqlite_database, spool)
        assert done.passed_over == [Passed(bad.stem[:12], "internal", "IntegrityError")]
        assert (done.indexed, done.studies) == (count, count)
        assert indexed(sqlite_database) == stems(*good)
    assert all(one.instance_count == 1 for one in studies(sqlite_database).values())


def test_a_file_that_goes_bad_between_its_two_readings_is_passed_over(
    database: Database, spool: Spool
) -> None:
    def later(what: str, number: int, total: int) -> None:
        if (what, number) == ("files", total):
            as_folder(bad)

    bad, *good = three(spool)
    done = rebuilt(database, spool, later)
    assert done.passed_over == [Passed(bad.stem[:12], "unreadable", "IsADirectoryError EISDIR")]
    assert (done.indexed, done.studies) == (2, 2)
    assert indexed(database) == stems(*good)


def note_damaged(spool: Spool, *datasets: FileDataset) -> Path:
    """Note a closed generation of one study, whose digest no database takes; gives the note."""
    uid = str(datasets[0].StudyInstanceUID)
    members = [(str(one.SOPInstanceUID), path.stem) for one, path in zip(
        datasets, kept(spool, *datasets), strict=True
    )]  # fmt: skip
    closed = generations.ClosedGeneration(uid, 1, "", "none", sorted(members))
    path = generations._path(spool.root, closed)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(asdict(closed) | {"digest": {"no": "text"}}))
    return path


def test_a_study_whose_own_rows_are_refused_is_not_indexed_at_all(
    database: Database, spool: Spool
) -> None:
    """What could not be written may be what holds it."""
    both = dx(study="held", seed=1), dx(study="held", seed=2, instance=2)
    note = note_damaged(spool, *both)
    bad = kept(spool, *both)
    good = kept(spool, dx(study="a", seed=3), dx(study="b", seed=4))
    for count in (2, 0):
        done = rebuilt(database, spool)
        assert {(one.file, one.code) for one in done.passed_over} == {
            (path.stem[:12], "study") for path in bad
        }
        assert (done.indexed, done.studies, done.generations) == (count, count, 0)
        assert indexed(database) == stems(*good)
    assert quarantined(database) == []
    note.unlink()
    done = rebuilt(database, spool)
    assert (done.indexed, done.passed_over) == (2, [])


def test_a_kept_step_that_postgresql_refuses_holds_up_nothing_but_its_study(
    postgres_database: Database, spool: Spool
) -> None:
    good = three(spool)
    of = dx(study="s1", seed=1)
    step = Dataset()
    step.PerformedProcedureStepStatus = "COMPLETED"
    step.ScheduledStepAttributesSequence = Sequence([Dataset()])
    step.ScheduledStepAttributesSequence[0].StudyInstanceUID = of.StudyInstanceUID
    step.PerformedSeriesSequence = Sequence([])
    step.Modality = ["LONGVALUE", "LONGVALUE"]  # more than the row takes of both
    step.file_meta = of.file_meta
    step.file_meta.MediaStorageSOPClassUID = UID(PERFORMED_STEP)
    message = spool.root / "reports" / "one.dcm"
    step.save_as(message, enforce_file_format=True)
    ended.keep(message, "2.25.1", [str(of.StudyInstanceUID)])
    done = rebuilt(postgres_database, spool)
    assert (done.indexed, done.studies, done.steps) == (2, 2, 0)
    codes = sorted((one.code, one.detail) for one in done.passed_over)
    assert codes == [("step", "the database refuses it: 22001"), ("study", "DataError")]
    assert len(indexed(postgres_database) & stems(*good)) == 2
    assert quarantined(postgres_database) == []


def test_what_is_not_ours_in_the_store_is_said_without_its_name(
    database: Database, spool: Spool
) -> None:
    moved, *good = three(spool)
    other = spool.root / "store" / ("00" if moved.parent.name != "00" else "01")
    moved.rename(other / moved.name)
    (spool.root / "store" / "de" / "DOE^JOHN.dcm").write_bytes(b"x")
    (spool.root / "store" / "7a" / f"{'7a' * 32}.dcm.part").write_bytes(b"no kept file")
    done = rebuilt(database, spool)
    assert {(one.file, one.code) for one in done.passed_over} == {
        (moved.stem[:12], "misplaced"), ("store/de", "misplaced"),
    }  # fmt: skip
    assert (done.files, done.known, done.indexed, done.corrupt) == (4, 0, 2, [])
    assert indexed(database) == stems(*good)
    assert "DOE" not in f"{asdict(done)} {audited(database).detail}"


def test_a_folder_that_is_not_listed_is_said(database: Database, spool: Spool) -> None:
    good = three(spool)
    folder = next(one for one in sorted((spool.root / "store").iterdir()) if not any(one.iterdir()))
    folder.rmdir()
    folder.write_bytes(b"no folder")
    done = rebuilt(database, spool)
    assert done.passed_over == [
        Passed(f"store/{folder.name}", "unreadable", "NotADirectoryError ENOTDIR")
    ]
    assert indexed(database) == stems(*good)


def test_a_file_that_retention_deletes_meanwhile_is_no_bad_one(
    database: Database, spool: Spool
) -> None:
    def purged(what: str, number: int, _total: int) -> None:
        if (what, number) == ("files", 1):
            gone.unlink()

    gone, *good = three(spool)
    done = rebuilt(database, spool, purged)
    assert (done.indexed, done.passed_over) == (2, [])
    assert indexed(database) == stems(*good)


class TestWhatEveryFileWouldMeet:
    def test_a_database_that_is_away(self, postgres_database: Database, spool: Spool) -> None:
        three(spool)
        url = postgres_database.engine.url.set(query={"host": "/nowhere"})
        away = connect(url.render_as_string(hide_password=False))
        with pytest.raises(
            Stopped, match=r"the database \(OperationalError\) after 0 files.*again"
        ):
            rebuilt(away, spool)
        away.dispose()

    def test_a_database_that_breaks_in_the_midst(
        self, sqlite_database: Database, spool: Spool
    ) -> None:
        def drop(what: str, number: int, _total: int) -> None:
            if (what, number) == ("studies", 1):
                with sqlite_database.begin() as session:
                    session.execute(text("DROP TABLE instance"))

        three(spool)
        with pytest.raises(Stopped, match="after 1 files were indexed and 0 passed over"):
            rebuilt(sqlite_database, spool, drop)
        assert len(studies(sqlite_database)) == 1

    def test_no_more_files_can_be_opened(self, sqlite_database: Database, spool: Spool) -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)

        def no_more(what: str, number: int, _total: int) -> None:
            if (what, number) == ("files", 2):
                resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))

        files = three(spool)
        try:
            with pytest.raises(Stopped, match=r"the disk or this process \(OSError EMFILE\)"):
                rebuilt(sqlite_database, spool, no_more)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert rebuilt(sqlite_database, spool).indexed == 3
        assert indexed(sqlite_database) == stems(*files)
