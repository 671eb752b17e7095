"""What came in a file made ready is indexed and kept as what came in any other."""

import mmap
import os
from errno import EISDIR
from pathlib import Path

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from db.engine import Database
from db.tables import InstanceRow
from tests.builders import dx, part10
from tests.triage.ingested import RULES, alerts, put
from triage import ready as ready_module
from triage import spool as spool_module
from triage.durable import disk_of
from triage.ingest import ingest_all
from triage.sealed import FILE_BYTES, Content
from triage.spool import Spool, digest, stored_path


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    spool = Spool(tmp_path / "spool")
    if not disk_of(spool.root).overwrites:
        pytest.skip("files are made ready on ext4 and XFS only")
    spool.ready.open()
    monkeypatch.setattr(ready_module, "QUIET_S", 0.0)
    return spool


def arrive(spool: Spool, instance: bytes) -> Path:
    spool.ready.used()
    assert spool.ready.renew(1, lambda: True) == 1
    blank = spool.ready.take()
    assert blank is not None
    buffer = mmap.mmap(-1, FILE_BYTES)
    buffer[: len(instance)] = instance
    return spool.arrive(blank, Content(buffer, len(instance)))


def test_it_is_kept_with_its_own_bytes_and_its_own_size(database: Database, spool: Spool) -> None:
    instance = part10(dx(study="s"))
    path = arrive(spool, instance)
    assert path.stat().st_size == FILE_BYTES
    assert ingest_all(database, spool, RULES) == 1
    with database.reading() as session:
        [row] = session.scalars(select(InstanceRow))
    kept = stored_path(spool.root, row.sha256)
    assert kept.read_bytes() == instance
    assert row.size_bytes == len(instance)
    assert digest(kept) == row.sha256
    assert spool.incoming(10) == []
    spool.ready.tidy()
    assert list((spool.root / "ready").iterdir()) == []
    assert kept.read_bytes() == instance


def test_it_is_the_same_content_as_one_that_came_otherwise(
    database: Database, spool: Spool
) -> None:
    dataset = dx(study="s")
    put(spool, dataset)
    arrive(spool, part10(dataset))
    assert ingest_all(database, spool, RULES) == 2
    with database.reading() as session:
        assert len(list(session.scalars(select(InstanceRow)))) == 1


@pytest.mark.parametrize("step", ["before", "cut"])
def test_killed_at_any_step_the_next_one_cuts_it(spool: Spool, step: str) -> None:
    instance = part10(dx(study="s"))
    path = arrive(spool, instance)
    if step != "before":
        os.truncate(path, len(instance))
    for _ in range(2):
        assert spool.incoming(10) == [path]
        assert path.read_bytes() == instance


def test_a_cut_that_was_not_made_safe_is_made_so_when_it_is_taken(
    database: Database, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.is_ordered = False  # as on a disk without a journal
    path, synced = arrive(spool, part10(dx(study="s"))), []
    (found,) = spool.incoming(10)
    assert found.stat().st_size < FILE_BYTES

    def sync(one: Path) -> None:
        synced.append(one)
        raise OSError(5, "input/output error")

    monkeypatch.setattr(spool_module, "sync_file", sync)
    assert ingest_all(database, spool, RULES) == 0
    assert synced == [path]
    assert spool.incoming(10) == [path]
    monkeypatch.undo()
    assert ingest_all(database, spool, RULES) == 1


def test_what_is_linked_while_others_are_recovered_has_no_third_name(spool: Spool) -> None:
    spool.ready.used()
    spool.ready.used()
    assert spool.ready.renew(2, lambda: True) == 2
    names: dict[int, str] = {}
    for study in ("one", "two"):
        blank = spool.ready.take()
        assert blank is not None
        buffer, instance = mmap.mmap(-1, FILE_BYTES), part10(dx(study=study))
        buffer[: len(instance)] = instance
        spool.arrive(blank, Content(buffer, len(instance)))
        assert not spool._admit_whole(names, blank.path, len(instance))
    assert len(spool.incoming(10)) == 2


def test_one_that_cannot_be_cut_holds_up_no_other(
    database: Database, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = arrive(spool, part10(dx(study="bad")))
    arrive(spool, part10(dx(study="good")))
    cut = os.truncate

    def broken(path: Path, length: int) -> None:
        if path == bad:
            raise OSError(5, "input/output error")
        cut(path, length)

    monkeypatch.setattr(os, "truncate", broken)
    assert ingest_all(database, spool, RULES) == 1
    [alert] = alerts(database)
    assert (alert.event_type, alert.object_id) == ("spool.passed-over", bad.name)
    assert spool.incoming(10) == [bad]
    monkeypatch.undo()
    assert ingest_all(database, spool, RULES) == 1
    assert spool.incoming(10) == []


def test_older_ones_come_first_however_they_came(spool: Spool) -> None:
    paths = []
    for number in range(6):
        instance = part10(dx(study=f"s{number}"))
        paths.append(arrive(spool, instance) if number % 2 else spool.write(instance))
    names = [path.name[:32] for path in paths]
    assert [path.name[:32] for path in spool.incoming(10)] == sorted(names)


@pytest.mark.parametrize(
    "name",
    ["1-001.dcm", "IM-0001-0001.dcm", "x-y.dcm", f"{'a' * 32}-0.dcm", f"{'a' * 32}-99999.dcm"],
)
def test_a_name_that_is_not_ours_is_taken_as_it_is(
    database: Database, spool: Spool, name: str
) -> None:
    instance = part10(dx(study="s"))
    (spool.root / "in" / "00" / name).write_bytes(instance)
    assert ingest_all(database, spool, RULES) == 1
    with database.reading() as session:
        [row] = session.scalars(select(InstanceRow))
    assert stored_path(spool.root, row.sha256).read_bytes() == instance
    assert spool.incoming(10) == []


def test_one_that_is_there_unreadable_when_all_begins_is_said(spool: Spool) -> None:
    (spool.root / "ready" / "0.dcm").mkdir()
    with capture_logs() as logs:
        assert spool.recover(after_all=True) == 0
    [told] = logs
    assert (told["event"], told["file"], told["errno"]) == ("ready.unreadable", "0.dcm", EISDIR)
