"""The audit trail counts what the listener counts: nothing came without a row, no row is more."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from db.audit import Event
from db.engine import Database
from db.tables import AuditRow
from tests.triage.receive import build, raw
from tests.triage.receive.conftest import Running, running_listener, soon
from triage.ingest import ingest_all
from triage.settings import Completeness
from triage.spool import Spool

CONTEXTS = [(raw.CT, [raw.EXPLICIT]), (raw.VERIFICATION, [raw.IMPLICIT])]
STRANGERS = 3
LET_IN = 8
Log = list[dict[str, Any]]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Log, Path]:
    """Give what a listener wrote to its log about a day of all kinds, and its spool."""
    folder = tmp_path_factory.mktemp("transfers")
    peers = [{"ae_title": "PEER"}]
    with running_listener(folder, peers=peers) as ours:
        send_whole_and_again(ours)
        break_off(ours)
        send_nothing(ours)
        for _ in range(STRANGERS):
            assert raw.rejection(ours.port, CONTEXTS, calling=b"STRANGER")
        assert soon(lambda: len(closed(ours.events())) == LET_IN)
    return ours.events(), ours.spool


def send_whole_and_again(ours: Running) -> None:
    """Send three instances; then two of them again, around one that is refused."""
    sent = [build.fresh_ct() for _ in range(3)]
    with raw.peer(ours.port) as one:
        one.associate(CONTEXTS)
        assert [one.store(data, uid.encode()) for uid, data in sent] == [0, 0, 0]
        assert one.release()
    with raw.peer(ours.port) as one:
        one.associate(CONTEXTS)
        assert one.store(sent[0][1], sent[0][0].encode()) == 0
        assert one.store(build.ct_bytes(StudyInstanceUID=None), build.SOP.encode()) == 0xC000
        assert one.store(sent[1][1], sent[1][0].encode()) == 0
        assert one.release()


def break_off(ours: Running) -> None:
    """Send one whole, then abort; or vanish within the second, or within the first."""
    for is_whole_first, ending in ((True, raw.pdu(raw.ABORT, bytes(4))), (True, b""), (False, b"")):
        (first, content), (second, cut) = build.fresh_ct(), build.fresh_ct()
        with raw.peer(ours.port) as one:
            one.associate(CONTEXTS)
            if is_whole_first:
                assert one.store(content, first.encode()) == 0
            one.send(ending or raw.store_rq(cut, second.encode())[:-200])


def send_nothing(ours: Running) -> None:
    for is_asking in (False, False, True):
        with raw.peer(ours.port) as one:
            one.associate(CONTEXTS)
            assert not is_asking or one.echo(3) == 0
            assert one.release()


def closed(log: Log) -> dict[str, dict[str, Any]]:
    """Give the listener's own account of each association that it let in, by its id."""
    return {one["association"]: one for one in log if one["event"] == "association.closed"}


@pytest.fixture
def rows(database: Database, day: tuple[Log, Path], tmp_path: Path) -> list[AuditRow]:
    """Give the audit rows after everything that came was taken in."""
    shutil.copytree(day[1], tmp_path / "spool")
    while ingest_all(database, Spool(tmp_path / "spool"), Completeness()):
        pass
    with database.reading() as session:
        return list(session.scalars(select(AuditRow)))


def told(rows: list[AuditRow], kind: str) -> int:
    """Give how many events of a kind the rows stand for."""
    return sum(json.loads(one.detail)["count"] for one in rows if one.event_type == kind)


def test_each_association_has_as_many_transfers_as_the_listener_counted_in_it(
    day: tuple[Log, Path], rows: list[AuditRow]
) -> None:
    counted = {name: one["accepted"] for name, one in closed(day[0]).items()}
    transfers = Counter(
        json.loads(one.detail)["association"]
        for one in rows
        if one.event_id == Event.INSTANCES_TRANSFERRED
    )
    assert sorted(counted.values()) == [0, 0, 0, 0, 1, 1, 2, 3]
    assert transfers == {name: count for name, count in counted.items() if count}


def test_what_was_refused_turned_away_or_lost_is_counted_as_often_and_is_no_transfer(
    day: tuple[Log, Path], rows: list[AuditRow]
) -> None:
    refused = sum(one["refused"] for one in closed(day[0]).values())
    lost = sum(
        one["how"] not in {"released", "aborted by the peer"} for one in closed(day[0]).values()
    )
    turned_away = sum(one["count"] for one in day[0] if one["event"] == "association.rejected")
    assert (refused, lost, turned_away) == (1, 2, STRANGERS)
    assert told(rows, "instance.refused") == refused
    assert told(rows, "connection.lost") == lost
    assert told(rows, "association.rejected") == turned_away
