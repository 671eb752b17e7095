"""The listener's own count is held against what arrives: what vanishes in between is missed."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from errno import EACCES
from pathlib import Path

import pytest
from sqlalchemy import select

from db import associations
from db.associations import AssociationRow
from db.engine import Database, connect, now
from db.tables import AuditRow, QuarantineRow
from tests.triage.commands.cli import Answer, triage
from tests.triage.ingested import RULES
from tests.triage.receive import build, raw
from tests.triage.receive.conftest import Running, running_listener
from triage.arrival import read_arrival
from triage.ingest import index, ingest_all, ingest_file, take_journal
from triage.record import missing, reconcile
from triage.spool import Spool, digest

CONTEXTS = [(raw.CT, [raw.EXPLICIT])]
LONG_AGO = timedelta(hours=3)
MISSING = "not-arrived"


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Running]:
    with running_listener(tmp_path, processes=2, prior_ae_title="PRIORS") as running:
        yield running


def send(ours: Running, *instances: tuple[str, bytes], called: bytes = b"TRIAGE") -> None:
    with raw.peer(ours.port) as peer:
        peer.associate(CONTEXTS, called=called)
        for uid, data in instances:
            assert peer.store(data, uid.encode()) == 0
        assert peer.release()


def images(count: int) -> list[tuple[str, bytes]]:
    return [build.fresh_ct() for _ in range(count)]


def stop(ours: Running) -> Spool:
    """Stop the listener, which then has written what it has to say."""
    os.kill(ours.pid, signal.SIGTERM)
    assert ours.process.wait(60) == 0
    return Spool(ours.spool)


def aged(database: Database) -> None:
    """Let what was told have been told some hours ago."""
    with database.begin() as session:
        for row in session.scalars(select(AssociationRow)):
            if row.told_at is not None:
                row.told_at -= LONG_AGO


def rows(database: Database) -> list[tuple[int | None, int]]:
    with database.reading() as session:
        found = session.scalars(select(AssociationRow).order_by(AssociationRow.noted_at))
        return [(one.accepted, one.arrived) for one in found]


def compared(database: Database, spool: Spool) -> dict[str, tuple[int, str]]:
    row = reconcile.reconcile(database, spool.root, actor="test")
    return {one.code: (one.count, one.example) for one in reconcile.differences(row)}


def test_what_vanishes_before_it_is_indexed_is_missed(database: Database, ours: Running) -> None:
    send(ours, *images(3))
    send(ours, *images(5))
    spool = stop(ours)
    [kept] = [one for one in ours.events() if one.get("accepted") == 3]
    lost = [path for path in spool.incoming(9) if kept["association"] in read(path)]
    lost[0].unlink()
    lost[2].unlink()
    assert ingest_all(database, spool, RULES) == 6
    assert compared(database, spool) == {}  # it may be on its way
    aged(database)
    [(count, example)] = compared(database, spool).values()
    assert count == 2
    assert example.startswith(f"association {kept['association']} of PEER, 127.0.0.1, 20")
    assert sorted(rows(database), key=str) == [(3, 1), (5, 5)]


def read(path: Path) -> str:
    return path.read_bytes()[:2000].decode("latin-1")


def test_what_arrives_in_any_way_is_not_missed(database: Database, ours: Running) -> None:
    """New, once more, and damaged on the disk, so that it is part of no study."""
    first = images(2)
    send(ours, *first, *images(1))
    send(ours, *first, *images(1))
    spool = stop(ours)
    damaged = spool.incoming(9)[2]
    damaged.write_bytes(damaged.read_bytes().replace(b"\x20\x00\x0d\x00UI", b"\x20\x00\x0c\x00UI"))
    ingest_all(database, spool, RULES)
    with database.reading() as session:
        assert [one.reason_code for one in session.scalars(select(QuarantineRow))] == ["unparsable"]
    aged(database)
    assert rows(database) == [(3, 3), (3, 3)]
    assert compared(database, spool) == {}


@pytest.mark.parametrize("is_ours", [True, False], ids=["readable", "somebody else's"])
def test_what_waits_is_told_as_waiting(
    database: Database, ours: Running, monkeypatch: pytest.MonkeyPatch, *, is_ours: bool
) -> None:
    send(ours, *images(2))
    spool = stop(ours)
    take_journal(database, spool)
    aged(database)
    for path in spool.incoming(9):
        os.utime(path, (1, 1))

    def refused(path: Path) -> str:
        raise PermissionError(EACCES, "not ours", str(path))

    if not is_ours:
        monkeypatch.setattr(missing, "association_of", refused)
    assert set(compared(database, spool)) == {"not-indexed"}
    ingest_all(database, spool, RULES)
    assert compared(database, spool) == {}


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_taken_during_the_comparison_is_not_missed(
    database: Database, ours: Running, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    send(ours, *images(2))
    spool = stop(ours)
    take_journal(database, spool)
    aged(database)
    count = missing._waiting

    def meanwhile(root: Path) -> Counter[str]:
        if when == "before":
            ingest_all(database, spool, RULES)
        found = count(root)
        ingest_all(database, spool, RULES)
        return found

    monkeypatch.setattr(missing, "_waiting", meanwhile)
    assert compared(database, spool) == {}
    assert rows(database) == [(2, 2)]


def test_what_waits_of_one_association_hides_nothing_of_another(
    database: Database, ours: Running
) -> None:
    send(ours, *images(1))
    send(ours, *images(2))
    spool = stop(ours)
    [held] = [one["association"] for one in ours.events() if one.get("accepted") == 1]
    [waits] = [path for path in spool.incoming(9) if held in read(path)]
    lost, other = [path for path in spool.incoming(9) if path != waits]
    lost.unlink()
    ingest_file(database, spool, RULES, other)
    take_journal(database, spool)
    aged(database)
    assert compared(database, spool)[MISSING][0] == 1
    assert held not in compared(database, spool)[MISSING][1]


def test_an_association_that_is_open_for_months_is_not_missed(database: Database) -> None:
    key = "ab" * 16
    for arrived in range(3):
        with database.begin() as session:
            associations.arrived(session, key)
        with database.begin() as session:
            [row] = session.scalars(select(AssociationRow))
            assert row.arrived == arrived + 1
            row.noted_at -= timedelta(days=29)
            associations.forget(session, now(session) - missing.KEPT)
    assert rows(database) == [(None, 3)]


def test_priors_and_what_is_refused_are_not_counted(database: Database, ours: Running) -> None:
    send(ours, *images(2), called=b"PRIORS")
    with raw.peer(ours.port) as peer:
        peer.associate(CONTEXTS)
        assert peer.store(build.ct_bytes()[:-1], build.SOP.encode()) == 0xC000
    spool = stop(ours)
    ingest_all(database, spool, RULES)
    assert rows(database) == []


def test_of_a_killed_listener_nothing_is_missed_that_arrived(
    database: Database, tmp_path: Path
) -> None:
    with running_listener(tmp_path, processes=1) as ours, raw.peer(ours.port) as peer:
        peer.associate(CONTEXTS)
        for uid, data in images(3):
            assert peer.store(data, uid.encode()) == 0
        os.kill(ours.pid, signal.SIGKILL)
        ours.process.wait()
    spool = Spool(ours.spool)
    ingest_all(database, spool, RULES)
    assert rows(database) == [(None, 3)]
    assert compared(database, spool) == {}


def test_a_step_done_twice_changes_nothing_that_is_told(database: Database, ours: Running) -> None:
    """As after a kill between commit and release: of the file, and of the journal's batch."""
    send(ours, *images(1))
    spool = stop(ours)
    [path] = spool.incoming(9)
    arrival = read_arrival(path, digest(path))
    with database.begin() as session:
        index(session, arrival, RULES)
    [batch] = spool.journal.waiting()
    content = batch.read_bytes()
    ingest_all(database, spool, RULES)
    batch.write_bytes(content)
    ingest_all(database, spool, RULES)
    aged(database)
    assert rows(database) == [(1, 2)]
    assert compared(database, spool) == {}


def test_it_is_told_until_it_is_settled_or_a_month_has_passed(
    database: Database, ours: Running
) -> None:
    for _ in range(2):
        send(ours, *images(2))
    spool = stop(ours)
    for path in spool.incoming(9)[1:]:
        path.unlink()
    ingest_all(database, spool, RULES)
    aged(database)
    assert compared(database, spool)[MISSING][0] == 3
    with database.reading() as session:
        one, other = session.scalars(select(AssociationRow.association_id))
    assert missing.settle(database, one, actor="admin", reason="sent again")
    assert not missing.settle(database, one, actor="admin", reason="sent again")
    assert not missing.settle(database, "unknown", actor="admin", reason="sent again")
    assert compared(database, spool)[MISSING][1].startswith(f"association {other}")
    with database.begin() as session:
        [entry] = session.scalars(select(AuditRow).where(AuditRow.event_type == "custody.settled"))
        assert (entry.actor, entry.object_id) == ("admin", one)
        for row in session.scalars(select(AssociationRow)):
            row.noted_at = now(session) - timedelta(days=31)
    assert compared(database, spool) == {}
    assert rows(database) == []


def test_the_command_names_it_and_settles_it_with_a_reason(tmp_path: Path, url: str) -> None:
    def said(*words: str) -> Answer:
        return triage("reconcile", "--state", tmp_path / "state", *words, TRIAGE__DATABASE__URL=url)

    with running_listener(tmp_path, processes=1) as ours:
        send(ours, *images(2))
        spool = stop(ours)
    spool.incoming(9)[0].unlink()
    database = connect(url)
    ingest_all(database, spool, RULES)
    aged(database)
    answer = said("--json")
    [told] = answer.json["differences"]
    assert (answer.code, told["code"], told["count"]) == (1, MISSING, 1)
    association = told["example"].split()[1]
    assert "--settle ASSOCIATION" in told["words"]
    assert [one["association_id"] for one in answer.json["missing"]] == [association]
    assert "--reason" in said("--settle", association).err
    assert "--settle" in said("--reason", "so").err
    assert "nothing is missing" in said("--settle", "f00", "--reason", "so").err
    assert "1 of 2: association" in " ".join(said().out.split())
    assert said("--settle", association, "--reason", "all of it came again").code == 0
    database.dispose()
