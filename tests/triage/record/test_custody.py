"""From association to "committed"; the sum comes out; the index is made anew; bytes go at last."""

import os
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.uid import Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage
from sqlalchemy import delete, select

from db import schema
from db.custody import CustodyRow
from db.engine import Database, connect, now
from db.states import StudyState
from db.tables import InstanceRow, OutboxRow, StudyRow
from tests.builders import dx
from tests.triage.peers import Scripted, scripted
from tests.workers.house import House, house
from tests.workers.test_road import NOWHERE, REPORTED
from triage.commands.rebuild import Rebuilt, rebuild
from triage.commands.tidy import Tidy
from triage.record import purge, reconcile
from triage.record.custody import Custody, of_study
from triage.retention import Retention
from triage.sharing import Sharing
from triage.spool import Spool, stored_path
from workers import nightly

STORAGE = (Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage)
SOON = Retention(images_days=1, unreported_after_days=1, sent_is_enough_after_days=1)
FEW_DAYS = timedelta(days=3)


@pytest.fixture
def site(sqlite_database: Database, tmp_path: Path) -> Iterator[House]:
    with (
        scripted(Scripted(), storage=STORAGE) as pacs,
        house(sqlite_database, tmp_path, pacs, reporting=REPORTED, routes=NOWHERE) as one,
    ):
        yield one


def custody(site: House) -> list[Custody]:
    with site.database.reading() as session:
        return of_study(session, session.scalars(select(StudyRow)).one())


def differences(site: House) -> dict[str, int]:
    row = reconcile.reconcile(site.database, site.settings.spool, actor="test")
    return {one.code: one.count for one in reconcile.differences(row)}


def stored(site: House) -> list[Path]:
    with site.database.reading() as session:
        digests = session.scalars(select(InstanceRow.sha256).order_by(InstanceRow.id))
        return [stored_path(site.settings.spool, one) for one in digests]


def age(site: House, *, committed: bool = True) -> None:
    """Let the study have come to rest some days ago, its report committed or only sent."""
    with site.database.begin() as session:
        then = now(session) - FEW_DAYS
        session.scalars(select(StudyRow)).one().settled_at = then
        for row in session.scalars(select(OutboxRow)):
            row.sent_at = then
            if committed:
                row.commitment, row.committed_at = "committed", then


def purged(site: House, rules: Retention = SOON) -> int:
    places = purge.Places(site.settings.spool, site.settings.results)
    return len(purge.purge(site.database, places, purge.Rules(rules), actor="test"))


class TestCustody:
    def test_a_row_tells_its_way_from_arrival_to_the_promise(self, site: House) -> None:
        site.receive(dx(study="way"))
        assert custody(site)[0].fate == "open: its study is receiving"
        site.work()
        age(site)
        [row] = custody(site)
        assert (row.fate, row.reason.partition(":")[0]) == ("excluded", "no-route")
        assert (row.source_ae_title, row.generation, row.copies) == ("MODALITY", 1, 1)
        assert row.size_bytes > 0
        assert row.reported_at is not None
        assert row.committed_at is not None
        assert row.purged_at is None


class TestReconcile:
    def test_it_comes_out_even_with_what_is_open_and_in_quarantine(self, site: House) -> None:
        spool = Spool(site.settings.spool)
        spool.write(b"no DICOM at all" * 99)
        site.receive(dx(study="a", seed=1), dx(study="a", seed=2, instance=2))
        assert differences(site) == {}
        with site.database.reading() as session:
            row = reconcile.latest(session)
        assert row is not None
        assert (row.received, row.quarantined, row.still_open) == (3, 1, 2)
        assert row.oldest_open_at is not None

    def test_a_lost_file_a_lost_row_and_a_lost_fate_raise_an_alert_that_clears(
        self, site: House
    ) -> None:
        site.receive(dx(study="a", seed=1), dx(study="a", seed=2, instance=2))
        site.work()
        lost, kept = stored(site)
        content = lost.read_bytes()
        lost.unlink()
        stray = stored_path(site.settings.spool, "ab" * 32)
        stray.write_bytes(b"nobody knows me")
        with site.database.begin() as session:
            session.get_one(CustodyRow, 2).fate = "open"
        assert differences(site) == {"no-fate": 1, "no-file": 1, "no-row": 1}
        lost.write_bytes(content)
        stray.unlink()
        with site.database.begin() as session:
            session.get_one(CustodyRow, 2).fate = "analysed"
        assert differences(site) == {}
        assert kept.exists()

    def test_it_is_due_once_a_day(self, site: House) -> None:
        assert nightly.is_due(site.database, site.settings)
        site.receive(dx())
        work = nightly.Nightly(site.database, site.settings)
        assert work.begin_if_due()
        work.join(60)
        assert not nightly.is_due(site.database, site.settings)
        assert not work.begin_if_due()


class TestRebuild:
    def rebuilt(self, site: House, database: Database) -> Rebuilt:
        rules, told = site.settings.site.completeness, []
        found = rebuild(
            database, Spool(site.settings.spool), rules, actor="test",
            progress=lambda *one: told.append(one),
        )  # fmt: skip
        assert bool(told) == bool(found.indexed + found.quarantined + len(found.corrupt))
        return found

    def reports(self, site: House) -> list[str]:
        kinds = OutboxRow.kind == "structured_report"
        with site.database.reading() as session:
            return list(session.scalars(select(OutboxRow.sop_instance_uid).where(kinds)))

    def anew(self, site: House, url: str) -> House:
        """Give the same site over another database."""
        from workers.local import Worker

        database = connect(url)
        return House(
            database, site.settings, Worker(database, site.settings, ("cpu", "gpu", "out"))
        )

    def test_without_a_database_the_reports_have_the_same_uids(
        self, site: House, tmp_path: Path
    ) -> None:
        site.receive(dx(study="two", seed=1))
        site.work()
        site.receive(dx(study="two", seed=2, instance=2))
        site.work()
        before = self.reports(site)
        url = f"sqlite:///{tmp_path / 'empty.sqlite'}"
        schema.upgrade(url)
        other = self.anew(site, url)
        done = self.rebuilt(site, other.database)
        assert (done.indexed, done.studies, done.generations) == (2, 1, 2)
        assert self.rebuilt(site, other.database).indexed == 0
        assert other.work().state == StudyState.DELIVERED
        assert self.reports(other) == before[-1:]
        other.worker.bench.close()
        other.database.dispose()

    def test_with_yesterdays_database_only_what_is_missing_comes_back(
        self, site: House, tmp_path: Path
    ) -> None:
        site.receive(dx(study="two", seed=1))
        site.work()
        backup = tmp_path / "yesterday.sqlite"
        with (
            sqlite3.connect(str(site.database.engine.url.database)) as source,
            sqlite3.connect(backup) as target,
        ):
            source.backup(target)
        source.close()
        target.close()
        site.receive(dx(study="two", seed=2, instance=2))
        site.work()
        before = self.reports(site)
        other = self.anew(site, f"sqlite:///{backup}")
        done = self.rebuilt(site, other.database)
        assert (done.known, done.indexed, done.generations) == (1, 1, 1)
        assert other.work().state == StudyState.DELIVERED
        assert self.reports(other) == before
        other.worker.bench.close()
        other.database.dispose()

    def test_a_changed_file_is_told_and_not_indexed(self, site: House) -> None:
        site.receive(dx(study="rot"))
        [path] = stored(site)
        with site.database.begin() as session:
            session.execute(delete(CustodyRow))
            session.execute(delete(InstanceRow))
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
        done = self.rebuilt(site, site.database)
        assert (done.corrupt, done.indexed) == ([path.stem], 0)


class TestPurge:
    def test_what_is_committed_goes_and_its_rows_stay(self, site: House) -> None:
        site.receive(dx(study="old"))
        site.work()
        [path] = stored(site)
        assert purged(site) == 0
        age(site)
        assert purged(site, Retention()) == 0
        assert purged(site) == 1
        assert not path.exists()
        assert custody(site)[0].purged_at is not None
        assert differences(site) == {}
        assert purged(site) == 0

    def test_the_ingestor_deletes_where_the_dispatcher_has_another_user(self, site: House) -> None:
        site.receive(dx(study="apart"))
        site.work()
        [path] = stored(site)
        age(site)
        assert not Tidy(site.database, site.settings).begin_if_due()
        sharing = Sharing(readers=str(os.getegid()))
        given = site.settings.site.model_copy(update={"sharing": sharing, "retention": SOON})
        tidy = Tidy(site.database, site.settings.model_copy(update={"site": given}))
        assert tidy.begin_if_due()
        tidy.join(60)
        assert not path.exists()
        assert custody(site)[0].purged_at is not None
        assert not tidy.begin_if_due()

    def test_sent_is_enough_only_where_the_site_says_so(self, site: House) -> None:
        site.receive(dx(study="sent"))
        site.work()
        age(site, committed=False)
        assert purged(site, Retention(images_days=1)) == 0
        assert purged(site) == 1

    @pytest.mark.parametrize("state", ["receiving", "held", "leased", "queued"])
    def test_it_is_pinned_while_anything_is_open(self, site: House, state: str) -> None:
        site.receive(dx(study="pin", seed=1))
        site.work()
        age(site)
        if state in ("receiving", "held"):
            late = dx(study="pin", seed=2, instance=2 if state == "receiving" else 1)
            site.receive(late)
        with site.database.begin() as session:
            if state == "leased":
                row = session.scalars(select(StudyRow)).one()
                row.leased_until = now(session) + FEW_DAYS
            if state == "queued":
                session.scalars(select(OutboxRow)).first().state = "queued"  # type: ignore[union-attr]
        assert purged(site) == 0
        assert all(path.exists() for path in stored(site))

    def test_a_full_disk_takes_it_before_its_time_but_not_at_once(self, site: House) -> None:
        site.receive(dx(study="full"))
        site.work()
        rules = Retention(images_days=365, free_bytes=2**62)
        assert purged(site, rules) == 0
        age(site)
        assert purged(site, rules) == 1

    def test_a_deletion_that_was_cut_off_is_finished(self, site: House) -> None:
        site.receive(dx(study="cut"))
        site.work()
        [path] = stored(site)
        content = path.read_bytes()
        age(site)
        purged(site)
        path.write_bytes(content)
        assert purge.finish(site.database, site.settings.spool) == 1
        assert not path.exists()


def test_a_report_that_changed_in_the_database_is_not_sent(site: House) -> None:
    site.receive(dx(study="flip"))
    site.make_due()
    for number, _ in site.worker.due():
        site.worker.run(number)
    with site.database.begin() as session:
        row = session.scalars(select(OutboxRow)).one()
        row.content = row.content[:-1] + bytes([row.content[-1] ^ 1])
    study = site.work()
    assert (study.state, study.reason_code) == (StudyState.FAILED, "corrupt")
    [row] = site.rows(OutboxRow)
    assert (row.state, row.sent_at) == ("refused", None)
