"""What retention deleted comes again, or late instances of its study come: nothing by luck."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
from pydicom.dataset import FileDataset
from sqlalchemy import select

from db import quarantine, schema
from db.custody import ConflictRow, CustodyRow
from db.engine import Database, connect, now
from db.evidence import ClosingRow
from db.promises import PromiseRequestRow, PromiseRow
from db.states import StudyState
from db.tables import AuditRow, GenerationMemberRow, GenerationRow, InstanceRow, OutboxRow, StudyRow
from tests.builders import dx, part10
from tests.triage.peers import Scripted, scripted
from tests.triage.record.test_custody import (
    FEW_DAYS,
    SOON,
    STORAGE,
    age,
    custody,
    differences,
    purged,
    stored,
)
from tests.workers.house import House, house
from tests.workers.test_road import NOWHERE, REPORTED
from triage.arrival import read_arrival
from triage.commands.rebuild import Rebuilt, rebuild
from triage.evidence import promises
from triage.record import conflicts, purge
from triage.record.withdrawals import Who
from triage.settings import Completeness
from triage.spool import Spool, stored_path

ADA = Who("ada", "admin", "127.0.0.1")
QUIETLY = {"quiet_s": 3600, "quiet_s_by_modality": {}}
LONG = timedelta(seconds=700)
"""More than an incomplete study is waited for."""


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Iterator[House]:
    """Everything is "not analysed", and no report of that is due."""
    with house(database, tmp_path / "a", routes=NOWHERE) as one:
        yield one


@pytest.fixture
def reporting(sqlite_database: Database, tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Everything is "not analysed", and reported to a PACS."""
    with scripted(Scripted(), storage=STORAGE) as pacs:
        opened: list[Any] = []

        def begin(**rules: object) -> House:
            sections = {"reporting": REPORTED, "routes": NOWHERE, "completeness": QUIETLY | rules}
            opened.append(house(sqlite_database, tmp_path / "a", pacs, **sections))
            one: House = opened[0].__enter__()
            return one

        yield begin
        for one in opened:
            one.__exit__(None, None, None)


def images(count: int) -> list[FileDataset]:
    return [dx(study="kept", instance=number, seed=number) for number in range(1, count + 1)]


def deleted(site: House, *datasets: FileDataset) -> None:
    """Receive and close a study, and let retention delete it."""
    site.receive(*datasets)
    site.work()
    age(site)
    assert purged(site) == 1
    assert not any(path.exists() for path in stored(site))


def work_after(site: House, silence: timedelta) -> StudyRow:
    """Let the study be silent for so long, and do what is due; gives it."""
    with site.database.begin() as session:
        session.scalars(select(StudyRow)).one().last_instance_at -= silence
    return site.work()


def doubts(site: House) -> list[ConflictRow]:
    with site.database.reading() as session:
        return list(conflicts.list_open(session))


def choices(site: House) -> list[str]:
    with site.database.reading() as session:
        [doubt] = conflicts.list_open(session)
        return [one.code for one in conflicts.options(session, doubt)]


def resolve(site: House, choice: str) -> None:
    [doubt] = doubts(site)
    with site.database.begin() as session:
        conflicts.resolve(session, doubt.id, choice, "I asked the archive", ADA)


def closings(site: House) -> list[tuple[str, str, int, int | None]]:
    with site.database.reading() as session:
        rows = session.scalars(select(ClosingRow).order_by(ClosingRow.generation)).all()
    return [(one.kind, one.sentence, one.held, one.expected) for one in rows]


def members(site: House, number: int) -> set[str]:
    with site.database.reading() as session:
        return set(
            session.scalars(
                select(InstanceRow.sop_instance_uid)
                .join(GenerationMemberRow, GenerationMemberRow.instance_id == InstanceRow.id)
                .join(GenerationRow, GenerationRow.id == GenerationMemberRow.generation_id)
                .where(GenerationRow.number == number)
            )
        )


def uids(datasets: Sequence[FileDataset]) -> set[str]:
    return {str(one.SOPInstanceUID) for one in datasets}


class TestTheSameBytes:
    def test_are_kept_again_on_record_and_not_deleted_the_next_night(self, site: House) -> None:
        [image] = images(1)
        deleted(site, image)
        site.receive(image)
        [path], [row] = stored(site), custody(site)
        assert path.exists()
        assert (row.purged_at, row.copies, row.generation) == (None, 2, 1)
        audits = [one for one in site.rows(AuditRow) if one.event_type.startswith("instance.")]
        assert [one.event_type for one in audits] == ["instance.received", "instance.restored"]
        first, again = (json.loads(one.detail) for one in audits)
        assert set(again) == set(first)
        assert again["sha256"] == first["sha256"]
        assert purge.finish(site.database, site.settings.spool) == 0
        assert purged(site) == 0
        assert path.exists()
        assert differences(site) == {}

    def test_leave_what_was_reported_as_it_is_and_are_deleted_in_their_time(
        self, site: House
    ) -> None:
        [image] = images(1)
        deleted(site, image)
        site.receive(image)
        study = site.work()
        assert (study.state, study.generation) == (StudyState.REJECTED, 1)
        assert len(site.rows(GenerationRow)) == 1
        age(site)
        assert purged(site) == 1
        assert not stored(site)[0].exists()

    def test_that_count_for_nothing_reopen_nothing(self, site: House) -> None:
        old, new = images(1)[0], images(1)[0]
        new.PatientBirthDate = "19700101"  # a newer header: the older one is set aside
        deleted(site, old, new)
        site.receive(old)
        study = site.work()
        assert (study.state, study.generation) == (StudyState.REJECTED, 1)
        assert [path.exists() for path in stored(site)] == [True, False]

    def test_are_counted_once_more_where_nothing_was_deleted(self, site: House) -> None:
        [image] = images(1)
        site.receive(image, image)
        kinds = [one.event_type for one in site.rows(AuditRow)]
        assert kinds == ["instance.received", "instance.again"]

    def test_are_committed_to_whoever_asks(self, site: House) -> None:
        one, other = images(2)
        deleted(site, one, other)
        site.receive(one)
        with site.database.begin() as session:
            at = now(session)
            asked = PromiseRequestRow(
                transaction_uid="2.25.5", ae_title="ASKER", called_ae_title="TRIAGE",
                address="", asked_at=at, state=promises.ASKED, due_at=at, fence=0, tries=0,
            )  # fmt: skip
            session.add(asked)
            session.flush()
            for image in (one, other):
                session.add(
                    PromiseRow(
                        request_id=asked.id, sop_class_uid=str(image.SOPClassUID),
                        sop_instance_uid=str(image.SOPInstanceUID),
                    )
                )  # fmt: skip
            session.flush()
            errand = promises.claim(session, site.settings.site.commitment)
            assert errand is not None
            contents = promises.kept(session, errand)
        failures = promises.verify(errand, contents, site.settings.spool)
        assert failures == {str(other.SOPInstanceUID): promises.NO_SUCH_INSTANCE}

    def test_are_all_that_an_index_made_anew_knows(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        one, other = images(2)
        with house(sqlite_database, tmp_path / "a", routes=NOWHERE) as site:
            deleted(site, one, other)
            site.receive(one)
            spool, rules = Spool(site.settings.spool), site.settings.site.completeness
            found = rebuild(
                site.database, spool, rules, actor="test", progress=lambda *_told: None
            )  # fmt: skip
            assert (found.files, found.known, found.indexed) == (1, 1, 0)
            url = f"sqlite:///{tmp_path / 'empty.sqlite'}"
            schema.upgrade(url)
            anew = connect(url)
            found = rebuild(anew, spool, rules, actor="test", progress=lambda *_told: None)
            assert (found.files, found.known, found.indexed) == (1, 0, 1)
            anew.dispose()


class TestAnOlderDatabase:
    """It says that contents were deleted, which came again after its backup."""

    def rebuilt(self, site: House) -> Rebuilt:
        spool, rules = Spool(site.settings.spool), site.settings.site.completeness
        return rebuild(site.database, spool, rules, actor="test", progress=lambda *_told: None)

    def older(self, site: House) -> FileDataset:
        """Give an image that is here, and deleted as its row says."""
        [image] = images(1)
        deleted(site, image)
        [before] = custody(site)
        site.receive(image)
        with site.database.begin() as session:
            session.scalars(select(CustodyRow)).one().purged_at = before.purged_at
        return image

    def test_is_put_right_by_the_index_made_anew(self, site: House) -> None:
        self.older(site)
        found = self.rebuilt(site)
        assert (found.files, found.known, found.indexed, found.restored) == (1, 0, 0, 1)
        assert purge.finish(site.database, site.settings.spool) == 0
        assert stored(site)[0].exists()
        assert (custody(site)[0].purged_at, differences(site)) == (None, {})
        again = self.rebuilt(site)
        assert (again.known, again.restored, again.studies) == (1, 0, 0)

    def test_that_knows_a_content_as_a_prior_nobody_asked_for_does_not_hide_it(
        self, site: House
    ) -> None:
        spool = Spool(site.settings.spool)
        waiting = spool.write(part10(images(1)[0]))
        sha256, _ = spool.store(waiting)
        spool.quarantine(waiting, sha256)
        spool.release(waiting)
        stored_path(spool.root, sha256).unlink()
        copyfile(spool.root / "quarantine" / f"{sha256}.dcm", stored_path(spool.root, sha256))
        with site.database.begin() as session:
            assert quarantine.note(session, sha256, 1, "prior-unexpected")
        assert differences(site) == {"no-row": 1}
        assert self.rebuilt(site).indexed == 1
        assert differences(site) == {}

    def test_does_not_bring_back_what_retention_deletes_meanwhile(
        self, site: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.older(site)

        def deleted_after(*given: Any) -> object:  # noqa: ANN401
            arrival = read_arrival(*given)
            assert purge.finish(site.database, site.settings.spool) == 1
            return arrival

        monkeypatch.setattr("triage.commands.rebuild.read_arrival", deleted_after)
        found = self.rebuilt(site)
        assert (found.restored, found.studies) == (0, 0)
        assert custody(site)[0].purged_at is not None
        assert differences(site) == {}


class TestTheDeletionUnderWay:
    """The bytes come while they are deleted: a row that says "here" has its file."""

    def is_kept(self, site: House) -> bool:
        [path], [row] = stored(site), custody(site)
        assert path.exists() == (row.purged_at is None)
        assert differences(site) == {}
        return path.exists()

    def resting(self, site: House) -> FileDataset:
        [image] = images(1)
        site.receive(image)
        site.work()
        age(site)
        return image

    def test_marked_as_deleted_and_its_file_not_yet_gone(
        self, site: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image, delete = self.resting(site), purge._delete

        def interrupted(*given: Any) -> int:  # noqa: ANN401
            site.receive(image)
            return delete(*given)

        monkeypatch.setattr(purge, "_delete", interrupted)
        assert purged(site) == 1
        assert self.is_kept(site)

    def test_marked_by_a_process_that_died_then(self, site: House) -> None:
        image = self.resting(site)
        with site.database.begin() as session:
            session.scalars(select(CustodyRow)).one().purged_at = now(session)
        site.receive(image)
        assert purge.finish(site.database, site.settings.spool) == 0
        assert self.is_kept(site)

    def test_stored_again_and_deleted_before_its_rows_are_written(
        self, site: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image = self.resting(site)

        def interrupted(*given: Any) -> object:  # noqa: ANN401
            assert purged(site) == 1
            assert not stored(site)[0].exists()
            return read_arrival(*given)

        monkeypatch.setattr("triage.ingest.read_arrival", interrupted)
        site.receive(image)
        assert self.is_kept(site)

    @pytest.mark.parametrize("how", ["purge", "finish"])
    def test_a_file_goes_only_while_nobody_can_bring_it_back(
        self, site: House, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        image, unlink = self.resting(site), purge._unlink
        comes = threading.Thread(target=site.receive, args=(image,))

        def interrupted(*given: Any) -> bool:  # noqa: ANN401
            comes.start()
            comes.join(0.5)
            assert comes.is_alive()  # it waits for the study
            return unlink(*given)

        monkeypatch.setattr(purge, "_unlink", interrupted)
        if how == "purge":
            assert purge.purge_study(
                site.database, site.settings.spool, 1, purge.Rules(SOON), actor="test"
            )  # fmt: skip
        else:
            with site.database.begin() as session:
                session.scalars(select(CustodyRow)).one().purged_at = now(session)
            assert purge.finish(site.database, site.settings.spool) == 1
        comes.join(30)
        assert self.is_kept(site)


class TestLateInstances:
    def test_hold_the_study_until_the_deleted_ones_come_again(self, site: House) -> None:
        first, second, late = images(3)
        deleted(site, first, second)
        site.receive(late)
        assert site.work().state == StudyState.RECEIVING  # the others may be on their way, too
        study = work_after(site, LONG)
        assert (study.state, study.reason_code) == (StudyState.HELD, "images-deleted")
        assert study.sentence == "Held. 2 of 3 instances were deleted here."
        assert [row.fate for row in custody(site)][2] == "open: its study is held"
        assert len(site.rows(GenerationRow)) == 1
        assert differences(site) == {}
        site.receive(first)
        assert doubts(site) == []
        study = work_after(site, LONG)
        assert study.sentence == "Held. 1 of 3 instances were deleted here."
        site.receive(second)
        study = site.work()
        assert (study.state, study.generation) == (StudyState.REJECTED, 2)
        assert study.reason_code == "no-route"
        assert members(site, 2) == uids([first, second, late])
        assert closings(site)[1][:1] == ("quiet",)
        assert all(row.purged_at is None for row in custody(site))
        assert differences(site) == {}

    def test_that_come_with_all_the_others_make_an_ordinary_generation(self, site: House) -> None:
        three = images(3)
        deleted(site, *three[:2])
        site.receive(*three)
        study = site.work()
        assert (study.state, study.generation) == (StudyState.REJECTED, 2)
        assert members(site, 2) == uids(three)

    def test_wait_anew_with_each_deleted_one_that_comes(self, site: House) -> None:
        three = images(3)
        deleted(site, *three[:2])
        site.receive(three[2])
        with site.database.begin() as session:
            session.scalars(select(StudyRow)).one().last_instance_at -= LONG
        site.receive(three[0])
        assert site.work().state == StudyState.RECEIVING

    def test_of_a_study_whose_deleted_ones_count_no_more_are_analysed(self, site: House) -> None:
        old, late = images(2)
        deleted(site, old)
        old.PatientBirthDate = "19700101"  # a newer header: the older one counts no more
        site.receive(old, late)
        study = site.work()
        assert (study.state, study.generation) == (StudyState.REJECTED, 2)
        assert members(site, 2) == uids([old, late])

    def test_stay_held_by_another_doubt_whatever_comes_again(self, site: House) -> None:
        [image] = images(1)
        deleted(site, image)
        site.receive(dx(study="kept", instance=2, seed=2, patient="P2"))
        site.receive(image)
        [study] = site.rows(StudyRow)
        assert (study.state, study.reason_code) == (StudyState.HELD, "identity-conflict")
        assert stored(site)[0].exists()

    def test_make_a_person_decide_who_may_do_without_the_deleted_ones(
        self, reporting: Callable[..., House]
    ) -> None:
        site = reporting()
        first, second, late, later = images(4)
        deleted(site, first, second)
        site.receive(late)
        assert work_after(site, LONG).state == StudyState.HELD
        assert choices(site) == ["release", "dismiss"]
        resolve(site, "release")
        study = site.work()
        assert (study.state, study.generation) == (StudyState.DELIVERED, 2)
        assert members(site, 2) == uids([late])
        said = "2 of 3 instances were deleted here, taken as it is because a person let it go on"
        assert closings(site)[1] == ("timeout", said, 1, 3)
        assert site.worker.drain() == 0  # what was left out does not reopen it
        site.receive(later)
        study = work_after(site, LONG)  # of another study than the one that was decided about
        assert study.sentence == "Held. 2 of 4 instances were deleted here."

    def test_that_come_after_a_decision_are_decided_about_anew(self, site: House) -> None:
        first, late, later = images(3)
        deleted(site, first)
        site.receive(late)
        assert work_after(site, LONG).state == StudyState.HELD
        resolve(site, "release")
        site.receive(later)
        study = work_after(site, LONG)
        assert study.sentence == "Held. 1 of 3 instances were deleted here."

    def test_do_not_let_an_earlier_decision_cover_a_later_deletion(
        self, reporting: Callable[..., House]
    ) -> None:
        site = reporting()
        first, late = images(2)
        deleted(site, first)
        site.receive(late)
        assert work_after(site, LONG).state == StudyState.HELD
        resolve(site, "release")
        assert site.work().generation == 2
        late.PatientName = "Married^Name"
        site.receive(late)
        age(site)
        assert purged(site) == 1
        resolve(site, "reissue")
        site.receive(late)
        study = work_after(site, LONG)
        assert study.sentence == "Held. 1 of 2 instances were deleted here."

    def test_are_taken_alone_where_the_site_wants_it_until_the_others_come_again(
        self, reporting: Callable[..., House]
    ) -> None:
        site = reporting(incomplete="analyse", incomplete_after_s=60)
        first, second, late = images(3)
        deleted(site, first, second)
        site.receive(late)
        assert site.work().state == StudyState.RECEIVING
        study = work_after(site, LONG)
        assert (study.state, study.generation) == (StudyState.DELIVERED, 2)
        assert members(site, 2) == uids([late])
        said = "2 of 3 instances were deleted here, taken as it is after 60 s"
        assert closings(site)[1] == ("timeout", said, 1, 3)
        site.receive(first, second)  # which its generation lacks
        study = site.work()
        assert (study.state, study.generation) == (StudyState.DELIVERED, 3)
        assert members(site, 3) == uids([first, second, late])

    def test_let_no_study_be_closed_of_which_nothing_is_here(
        self, reporting: Callable[..., House]
    ) -> None:
        site = reporting(incomplete="analyse", incomplete_after_s=60)
        [image] = images(1)
        site.receive(image)
        site.work()
        image.PatientName = "Married^Name"
        site.receive(image)  # a warning: an admin may have it reported anew
        age(site)
        assert purged(site) == 1
        resolve(site, "reissue")
        study = work_after(site, FEW_DAYS)
        assert study.sentence == "Held. 1 of 1 instances were deleted here."
        assert choices(site) == ["dismiss"]
        site.receive(image)
        study = site.work()
        assert (study.state, study.generation) == (StudyState.DELIVERED, 2)


class TestAnalysedWithoutThem:
    """A real detector looks at the one of two images that is here."""

    @pytest.fixture
    def lacking(self, sqlite_database: Database, tmp_path: Path) -> Iterator[House]:
        rules = QUIETLY | {"incomplete": "analyse", "incomplete_after_s": 60}
        with (
            scripted(Scripted()) as pacs,
            house(sqlite_database, tmp_path / "a", pacs, completeness=rules) as site,
        ):
            site.receive(self.images()[0])
            assert site.work().state == StudyState.DELIVERED
            age(site)
            assert purged(site) == 1
            site.receive(self.images()[1])
            yield site

    def images(self) -> list[FileDataset]:
        return [dx(study="two", instance=one, seed=one, rows=128) for one in (1, 2)]

    def test_the_report_says_so(self, lacking: House) -> None:
        assert work_after(lacking, LONG).generation == 2
        report = [one for one in lacking.rows(OutboxRow) if one.kind == "structured_report"][-1]
        said = b"1 of 2 instances were deleted here, taken as it is after 60 s"
        assert said in report.content
        assert lacking.rows(GenerationRow)[1].evidence == said.decode()

    def test_the_study_begins_anew_when_they_come_before_its_analysis(self, lacking: House) -> None:
        with lacking.database.begin() as session:
            study = session.scalars(select(StudyRow)).one()
            study.last_instance_at -= LONG
            study.due_at = now(session)
        [(number, _)] = lacking.worker.due()
        lacking.worker.run(number)
        assert lacking.rows(StudyRow)[0].state == StudyState.READY
        lacking.receive(self.images()[0])
        assert lacking.rows(StudyRow)[0].state == StudyState.RECEIVING
        assert lacking.work().generation == 3
        assert members(lacking, 3) == uids(self.images())

    def test_the_study_begins_anew_when_they_come_during_its_delivery(self, lacking: House) -> None:
        with lacking.database.begin() as session:
            study = session.scalars(select(StudyRow)).one()
            study.last_instance_at -= LONG
            study.due_at = now(session)
        for new in (StudyState.READY, StudyState.ANALYSED):
            [(number, _)] = lacking.worker.due()
            lacking.worker.run(number)
            assert lacking.rows(StudyRow)[0].state == new
        lacking.receive(self.images()[0])
        assert lacking.rows(StudyRow)[0].state == StudyState.ANALYSED
        study = lacking.work()
        assert (study.state, study.generation) == (StudyState.DELIVERED, 3)
        assert members(lacking, 3) == uids(self.images())


def test_the_waiting_rules_are_those_of_an_incomplete_study() -> None:
    assert Completeness().incomplete_after_s < LONG.total_seconds()
