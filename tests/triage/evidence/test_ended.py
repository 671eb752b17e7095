"""What a modality said of a study outlives the database: an index made anew holds it again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset
from sqlalchemy import select

from db import schema
from db.custody import ConflictRow
from db.engine import Database, connect
from db.evidence import AnnouncementRow
from db.states import StudyState
from db.tables import AuditRow, GenerationRow, StudyRow
from tests.builders import dx
from tests.triage.receive.modality import beginning, create, ending, perform, set_, speaking
from tests.workers.house import House
from tests.workers.test_evidence import (
    closing,
    named,
    pass_time,
    resolve,
    settle,
    site_of,
    study_of,
    three,
)
from tests.workers.test_study_faults import images, rejection
from triage import evidence
from triage.commands.rebuild import Rebuilt, rebuild
from triage.evidence import ended
from triage.receive.ledger import Entry
from triage.receive.listener import Listener
from triage.spool import Spool
from workers.local import Worker

WRONG = {"status": "DISCONTINUED", "reason": "110514"}


def rebuilt(site: House) -> Rebuilt:
    rules = site.settings.site.completeness
    return rebuild(
        site.database, Spool(site.settings.spool), rules, actor="test", progress=lambda *_told: None
    )  # fmt: skip


@contextmanager
def anew(site: House, tmp_path: Path) -> Iterator[House]:
    """Give the same site over an empty database."""
    url = f"sqlite:///{tmp_path / 'empty.sqlite'}"
    schema.upgrade(url)
    database = connect(url)
    one = House(
        database, site.settings, Worker(database, site.settings, ("cpu", "gpu", "out"))
    )  # fmt: skip
    try:
        yield one
    finally:
        one.worker.bench.close()
        database.dispose()


def steps(site: House) -> list[AnnouncementRow]:
    with site.database.reading() as session:
        return list(session.scalars(select(AnnouncementRow).order_by(AnnouncementRow.id)))


def doubts(site: House) -> list[str]:
    with site.database.reading() as session:
        open_ones = select(ConflictRow).where(ConflictRow.resolved_at.is_(None))
        return sorted(one.code for one in session.scalars(open_ones))


def went_wrong(site: House, listener: Listener, views: list[FileDataset]) -> None:
    """Receive a study, and hear that its modality took the wrong worklist entry."""
    site.receive(*views)
    perform(listener.port, study_of(views), named(views), **WRONG)
    settle(site)


class TestAnIndexMadeAnew:
    def test_holds_a_study_of_a_wrong_worklist_entry(
        self, database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        views = three()
        with site_of(database, tmp_path) as site:
            site.receive(*views)
            uid = perform(listener.port, study_of(views), named(views), **WRONG)
            assert settle(site).reason_code == "wrong-worklist-entry"
            with anew(site, tmp_path) as other:
                assert rebuilt(other).steps == 1
                study = other.work()
                assert (study.state, study.reason_code) == (
                    StudyState.HELD, "wrong-worklist-entry"
                )  # fmt: skip
                [step] = steps(other)
                assert (step.sop_instance_uid, step.state) == (uid, "DISCONTINUED")
                assert (step.reason_code, step.listed, step.missing) == ("110514", 3, 0)
                pass_time(other, 7200)
                assert other.work().state == StudyState.HELD
                assert rebuilt(other).steps == 0
                assert doubts(other) == ["wrong-worklist-entry"]

    def test_long_after_the_listener_forgot_the_step(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        views = three()
        with site_of(sqlite_database, tmp_path) as site:
            went_wrong(site, listener, views)
            ledger = site.settings.spool / "ledger"
            lines = [path for path in ledger.glob("??/*") if path.is_file()]
            assert lines
            for path in lines:
                path.unlink()
            with anew(site, tmp_path) as other:
                rebuilt(other)
                assert other.work().reason_code == "wrong-worklist-entry"

    def test_closes_its_generations_again_before_it_holds_it(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        views = three()
        with site_of(sqlite_database, tmp_path) as site:
            site.receive(*views)
            assert site.work().generation == 1
            perform(listener.port, study_of(views), named(views), **WRONG)
            settle(site)
            with anew(site, tmp_path) as other:
                assert (rebuilt(other).generations, len(other.rows(GenerationRow))) == (1, 1)
                assert other.work().state == StudyState.HELD
                resolve(other, "release")
                study = other.work()
                assert (study.state, study.generation) == (StudyState.REJECTED, 2)

    def test_holds_it_beside_another_doubt(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        views = three()
        for one in views:
            one.PatientID = ""
        with site_of(sqlite_database, tmp_path) as site:
            went_wrong(site, listener, views)
            assert doubts(site) == ["no-patient", "wrong-worklist-entry"]
            with anew(site, tmp_path) as other:
                rebuilt(other)
                assert doubts(other) == ["no-patient", "wrong-worklist-entry"]

    def test_waits_for_what_a_completed_step_lists(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        views = three()
        with site_of(sqlite_database, tmp_path) as site:
            site.receive(*views[:2])
            perform(listener.port, study_of(views), named(views), modality="DX")
            settle(site)
            with anew(site, tmp_path) as other:
                rebuilt(other)
                pass_time(other, 700)
                study = other.work()
                assert (study.state, study.reason_code) == (StudyState.HELD, "study-incomplete")
                assert study.sentence == "Held. 2 of 3 received."
                other.receive(views[2])
                assert settle(other).state == StudyState.REJECTED
                assert closing(other).kind == "mpps"

    def test_knows_a_step_whose_images_come_later(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        views = three()
        with site_of(sqlite_database, tmp_path) as site:
            perform(listener.port, study_of(views), named(views), **WRONG)
            site.receive()
            with anew(site, tmp_path) as other:
                assert rebuilt(other).steps == 1
                other.receive(*views)
                assert other.work().reason_code == "wrong-worklist-entry"

    def test_says_of_a_damaged_message_that_it_is(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        views = three()
        with site_of(sqlite_database, tmp_path) as site:
            went_wrong(site, listener, views)
            [kept] = ended.every(site.settings.spool)
            kept.write_bytes(b"damaged")
            with anew(site, tmp_path) as other:
                assert (rebuilt(other).steps, rebuilt(other).studies) == (0, 0)
                kinds = {one.event_type for one in other.rows(AuditRow)}
                assert "message.unreadable" in kinds


def test_an_older_database_learns_of_a_step_that_ended_after_its_backup(
    sqlite_database: Database, tmp_path: Path, listener: Listener
) -> None:
    views = three()
    with site_of(sqlite_database, tmp_path) as site:
        site.receive(*views)
        with anew(site, tmp_path) as other:
            rebuilt(other)
            assert other.work().state == StudyState.REJECTED
            perform(listener.port, study_of(views), named(views), **WRONG)
            settle(site)
            found = rebuilt(other)
            assert (found.studies, found.steps) == (0, 1)
            assert other.rows(StudyRow)[0].reason_code == "wrong-worklist-entry"


def test_a_rejection_note_counts_in_an_index_made_anew(
    sqlite_database: Database, tmp_path: Path
) -> None:
    two = images("rejected", 2)
    with site_of(sqlite_database, tmp_path) as site:
        site.receive(rejection("113001", two), *two)
        with anew(site, tmp_path) as other:
            rebuilt(other)
            study = other.work()
            assert (study.state, study.reason_code) == (StudyState.HELD, "retracted")


class TestKeeping:
    def test_is_for_steps_that_ended_and_for_nobody_else_to_read(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        views = three()
        with site_of(sqlite_database, tmp_path) as site, speaking(listener.port) as peer:
            assert create(peer, "2.25.1", beginning(study_of(views), "DX")) == 0
            site.receive(*views)
            assert list(ended.every(site.settings.spool)) == []
            assert set_(peer, "2.25.1", ending(named(views))) == 0
            site.receive()
            [kept] = ended.every(site.settings.spool)
            assert list(ended.of_study(site.settings.spool, study_of(views))) == [kept]
            modes = [one.stat().st_mode & 0o777 for one in (kept, kept.parent, kept.parents[1])]
            assert modes == [0o600, 0o700, 0o700]
            assert Spool(site.settings.spool).reports(9) == []

    def test_the_same_message_again_is_once(self, tmp_path: Path) -> None:
        message = tmp_path / "reports" / "one.dcm"
        message.parent.mkdir()
        message.write_bytes(b"1")
        for _ in range(2):
            ended.keep(message, "2.25.1", ["2.25.2", "2.25.3"])
        assert [one.read_bytes() for one in ended.every(tmp_path)] == [b"1", b"1"]
        assert not list(tmp_path.rglob("*.part"))

    def test_a_later_message_takes_its_place(self, tmp_path: Path) -> None:
        for name in "ab":
            message = tmp_path / "reports" / f"{name}.dcm"
            message.parent.mkdir(exist_ok=True)
            message.write_bytes(name.encode())
            ended.keep(message, "2.25.1", ["2.25.2"])
        assert [one.read_bytes() for one in ended.every(tmp_path)] == [b"b"]

    def test_a_message_that_cannot_be_kept_is_tried_again(
        self,
        sqlite_database: Database,
        tmp_path: Path,
        listener: Listener,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        views = three()
        with site_of(sqlite_database, tmp_path) as site:
            site.receive(*views)
            perform(listener.port, study_of(views), named(views), **WRONG)
            [_, end] = Spool(site.settings.spool).reports(9)
            with monkeypatch.context() as patched:
                patched.setattr("triage.evidence.ended.sync_folder", _full)
                with pytest.raises(OSError, match="full"):
                    _take(site, end)
            assert steps(site) == []
            assert settle(site).reason_code == "wrong-worklist-entry"
            assert len(list(ended.every(site.settings.spool))) == 1


def _full(_folder: Path) -> None:
    raise OSError(28, "the disk is full")


def _take(site: House, path: Path) -> None:
    with site.database.begin() as session:
        evidence.take(session, path)


def test_an_end_that_was_kept_and_not_remembered_may_be_said_again(
    sqlite_database: Database,
    tmp_path: Path,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The modality was told that it failed: what it says then is what counts."""
    views = three()
    with site_of(sqlite_database, tmp_path) as site, speaking(listener.port) as peer:
        site.receive(*views)
        assert create(peer, "2.25.1", beginning(study_of(views), "DX")) == 0
        in_progress = ending(named(views[:1]), "IN PROGRESS")
        with monkeypatch.context() as patched:
            patched.setattr(Entry, "write", lambda *_: _full(tmp_path))
            assert set_(peer, "2.25.1", in_progress) == 0x0110
        assert set_(peer, "2.25.1", ending(named(views))) == 0
        study = settle(site)
        assert (study.state, closing(site).kind) == (StudyState.REJECTED, "mpps")
        [step] = steps(site)
        assert (step.state, step.revision, step.listed) == ("COMPLETED", 2, 3)


def test_other_studies_are_not_held(
    sqlite_database: Database, tmp_path: Path, listener: Listener
) -> None:
    views = three()
    with site_of(sqlite_database, tmp_path) as site:
        site.receive(dx(study="another", seed=7))
        perform(listener.port, study_of(views), named(views), **WRONG)
        settle(site)
        with anew(site, tmp_path) as other:
            rebuilt(other)
            assert other.work().state == StudyState.REJECTED
