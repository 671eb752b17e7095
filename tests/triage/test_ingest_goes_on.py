"""One bad entry holds up no other: what the index cannot hold, what the disk does not give."""

import errno
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from structlog.testing import capture_logs

from db.engine import Database, connect
from db.tables import StudyRow
from tests.builders import dx, part10
from tests.servers import running, wait_until
from tests.triage.commands.cli import triage, write_site
from tests.triage.ingested import LONG, RULES, alerts, overlong, put, quarantined, studies
from triage import evidence, passed_over
from triage import ingest as module
from triage.arrival import Unindexable, read_arrival
from triage.commands.common import OK
from triage.ingest import ingest_all
from triage.passed_over import FIRST_S, LONGEST_S, PassedOver
from triage.spool import Spool


class Clock:
    """A clock that goes as it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_what_postgresql_refuses_goes_to_quarantine_and_the_rest_is_indexed(
    postgres_database: Database, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triage.arrival.fitted", lambda _keyword, value: value)
    bad = overlong("PatientID", LONG, study="bad")
    put(spool, bad, dx(study="good"))
    assert ingest_all(postgres_database, spool, RULES) == 2
    [row] = quarantined(postgres_database)
    [alert] = alerts(postgres_database)
    assert (row.reason_code, row.reason_detail) == (
        "unindexable", "the database refuses it: 54000",
    )  # fmt: skip
    assert (spool.root / "quarantine" / f"{row.sha256}.dcm").read_bytes() == part10(bad)
    assert (alert.event_type, alert.object_id) == ("instance.quarantined", row.sha256)
    assert LONG[:64] not in alert.detail
    assert len(studies(postgres_database)) == 1
    assert spool.incoming(10) == []


@pytest.mark.parametrize("value", ["x" * 65, "a\0b"], ids=["too long", "NUL"])
def test_a_data_exception_is_the_files_own(
    postgres_database: Database, spool: Spool, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    def spoilt(path: Path, sha256: str) -> object:
        arrival = read_arrival(path, sha256)
        if arrival.values["PatientID"] == "P1":
            arrival.values["SeriesInstanceUID"] = value
        return arrival

    monkeypatch.setattr(module, "read_arrival", spoilt)
    put(spool, dx(study="bad"), dx(study="good", patient="P2"))
    assert ingest_all(postgres_database, spool, RULES) == 2
    assert [row.reason_code for row in quarantined(postgres_database)] == ["unindexable"]
    assert len(studies(postgres_database)) == 1


def test_a_database_that_is_away_delays_and_quarantines_nothing(
    postgres_database: Database, spool: Spool
) -> None:
    put(spool, dx(study="one"), dx(study="two"))
    url = postgres_database.engine.url.set(query={"host": "/nowhere"})
    away = connect(url.render_as_string(hide_password=False))
    passed = PassedOver()
    with pytest.raises(SQLAlchemyError):
        ingest_all(away, spool, RULES, passed=passed)
    assert len(passed) == 0
    assert len(spool.incoming(10)) == 2
    assert ingest_all(postgres_database, spool, RULES, passed=passed) == 2
    assert quarantined(postgres_database) == []


def test_a_statement_the_driver_gives_up_on_is_no_database_that_is_away(
    postgres_database: Database, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.index

    def too_many(session: object, arrival: object, rules: object) -> bool:
        if arrival.values["PatientID"] == "P1":  # type: ignore[attr-defined]
            uids = [str(number) for number in range(70_000)]
            session.scalars(select(StudyRow).where(StudyRow.study_instance_uid.in_(uids)))  # type: ignore[attr-defined]
        return real(session, arrival, rules)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "index", too_many)
    put(spool, dx(study="bad"), dx(study="good", patient="P2"))
    assert ingest_all(postgres_database, spool, RULES) == 1
    assert len(spool.incoming(10)) == 1
    assert quarantined(postgres_database) == []


def folder_in(spool: Spool) -> Path:
    """Put a folder where the oldest file would be: the disk refuses to read it."""
    path = spool.root / "in" / "00" / f"{'0' * 36}.dcm"
    path.mkdir()
    return path


def test_an_entry_the_disk_does_not_give_is_passed_over_with_one_alert(
    database: Database, spool: Spool
) -> None:
    place, clock = folder_in(spool), Clock()
    passed = PassedOver(clock)
    put(spool, dx(study="good"))
    with capture_logs() as logs:
        assert ingest_all(database, spool, RULES, passed=passed) == 1
        for _ in range(20):
            clock.now += LONGEST_S
            assert ingest_all(database, spool, RULES, passed=passed) == 0
    [alert] = alerts(database)
    assert (alert.event_type, alert.object_id) == ("spool.passed-over", place.name)
    assert "IsADirectoryError EISDIR" in alert.detail
    assert [one["event"] for one in logs] == ["spool.passed-over"]
    assert place.is_dir()  # nothing is deleted
    assert spool.incoming(10) == [place]
    assert len(studies(database)) == 1
    ingest_all(database, spool, RULES, passed=PassedOver())  # started again
    assert len(alerts(database)) == 1


def test_what_is_passed_over_is_tried_again_ever_more_rarely_and_taken_once_it_can_be_read(
    database: Database, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    [path] = put(spool, dx(study="late"))
    tried, clock = [], Clock()
    passed = PassedOver(clock)

    def bad_sector(waiting: Path) -> tuple[str, Path]:
        tried.append(clock.now)
        raise OSError(errno.EIO, "no", str(waiting))

    with monkeypatch.context() as disk:
        disk.setattr(spool, "store", bad_sector)
        for _ in range(1_200):
            assert ingest_all(database, spool, RULES, passed=passed) == 0
            clock.now += FIRST_S
    assert tried[:4] == [0, FIRST_S, 3 * FIRST_S, 7 * FIRST_S]
    assert len(tried) < 13
    assert max(after - before for before, after in pairwise(tried)) == LONGEST_S
    assert len(alerts(database)) == 1
    assert "EIO" in alerts(database)[0].detail
    clock.now += LONGEST_S
    assert ingest_all(database, spool, RULES, passed=passed) == 1
    assert len(passed) == 0
    assert not path.exists()
    assert len(studies(database)) == 1


def test_many_unreadable_entries_do_not_fill_the_batch(database: Database, spool: Spool) -> None:
    for number in range(5):
        (spool.root / "in" / "00" / f"{number:036d}.dcm").mkdir()
    put(spool, dx(study="good"))
    passed = PassedOver(Clock())
    counts = [ingest_all(database, spool, RULES, limit=2, passed=passed) for _ in range(4)]
    assert sum(counts) == 1


def test_a_name_that_is_not_ours_is_said_nowhere(sqlite_database: Database, spool: Spool) -> None:
    (spool.root / "in" / "00" / "DOE^JOHN.dcm").mkdir()
    with capture_logs() as logs:
        ingest_all(sqlite_database, spool, RULES)
    [alert] = alerts(sqlite_database)
    assert "DOE" not in f"{alert.object_id} {alert.detail} {logs}"


def test_a_full_disk_stops_the_round_without_an_alert_for_each_file(
    sqlite_database: Database, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path) -> tuple[str, Path]:
        raise OSError(errno.ENOSPC, "full")

    put(spool, dx(), dx())
    monkeypatch.setattr(spool, "store", full)
    with pytest.raises(OSError, match="full"):
        ingest_all(sqlite_database, spool, RULES)
    assert alerts(sqlite_database) == []


def test_a_file_the_disk_stops_giving_is_not_called_unparsable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(part10(dx()))

    def bad_sector(*_given: object, **_named: object) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr("triage.arrival.pydicom.dcmread", bad_sector)
    with pytest.raises(OSError, match="no") as raised:
        read_arrival(path, "0" * 64)
    assert not isinstance(raised.value, Unindexable)


def test_a_message_the_disk_does_not_give_stays_and_the_next_is_taken(
    database: Database, spool: Spool
) -> None:
    place = spool.root / "reports" / f"{'0' * 36}.dcm"
    place.mkdir()
    spool.write_report(b"no DICOM at all")
    assert module.take_reports(database, spool) == 1
    assert place.is_dir()
    assert [one.event_type for one in alerts(database)] == [
        "spool.passed-over", "message.unreadable",
    ]  # fmt: skip


def test_a_message_that_postgresql_refuses_is_kept_in_quarantine(
    postgres_database: Database, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(session: object, _path: Path) -> bool:
        session.execute(select(StudyRow).where(StudyRow.sentence == "a\0b"))  # type: ignore[attr-defined]
        return True

    monkeypatch.setattr(evidence, "take", refused)
    spool.write_report(b"a message")
    assert module.take_reports(postgres_database, spool) == 1
    [row] = quarantined(postgres_database)
    assert row.reason_code == "unindexable"
    assert (spool.root / "quarantine" / f"{row.sha256}.dcm").read_bytes() == b"a message"
    assert spool.reports(10) == []


JOURNALLED = (
    '{"uuid": "6ba7b811-9dad-11d1-80b4-00c04fd430c8", "at": "2026-01-01", "kind": "one.kind",'
    ' "code": "", "ae_title": "CT1", "address": "", "count": 1}\n'
)


@pytest.mark.parametrize(
    "line",
    [
        b'{"uuid": "\xff\xfe"}\n', b"\xff\n", b"[" * 100_000 + b"\n",
        JOURNALLED.replace("CT1", "A\\u0000B").encode(),
        JOURNALLED.replace("one.kind", "k" * 65).encode(),
        JOURNALLED.replace('"CT1"', "7").encode(),
        JOURNALLED.replace(": 1}", ': "many"}').encode(),
        JOURNALLED.replace("6ba7b811", "6ba7b811" * 4).encode(),
    ],
    ids=["text", "byte", "deep", "NUL", "kind", "number", "count", "uuid"],
)  # fmt: skip
def test_a_damaged_line_of_the_journal_is_an_event_and_the_others_are_taken(
    database: Database, spool: Spool, line: bytes
) -> None:
    (spool.journal.folder / "1.jsonl").write_bytes(line + JOURNALLED.encode())
    spool.journal.note("association.rejected", ae_title="EVIL")
    spool.journal.flush()
    put(spool, dx(study="good"))
    assert ingest_all(database, spool, RULES) == 1
    assert sorted(one.event_type for one in alerts(database)) == [
        "association.rejected", "journal.damaged", "one.kind",
    ]  # fmt: skip
    assert spool.journal.waiting() == []


def test_a_batch_of_the_journal_that_cannot_be_read_stays_and_the_others_are_taken(
    database: Database, spool: Spool
) -> None:
    place = spool.journal.folder / f"{'0' * 36}.jsonl"
    place.mkdir()
    spool.journal.note("association.rejected", ae_title="EVIL")
    spool.journal.flush()
    ingest_all(database, spool, RULES)
    assert [one.event_type for one in alerts(database)] == [
        "spool.passed-over", "association.rejected",
    ]  # fmt: skip
    assert place.is_dir()


def test_an_alert_that_could_not_be_written_is_written_at_the_next_try(
    sqlite_database: Database, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_in(spool)
    passed = PassedOver(clock := Clock())

    def away(*_given: object) -> None:
        raise DBAPIError(None, None, Exception())

    with monkeypatch.context() as broken:
        broken.setattr(passed_over, "record", away)
        with pytest.raises(SQLAlchemyError):
            ingest_all(sqlite_database, spool, RULES, passed=passed)
    clock.now += LONGEST_S
    ingest_all(sqlite_database, spool, RULES, passed=passed)
    assert len(alerts(sqlite_database)) == 1


def test_the_ingestor_lives_on_beside_what_it_cannot_read(tmp_path: Path) -> None:
    state, log = tmp_path / "site", tmp_path / "log"
    write_site(state)
    assert triage("db", "upgrade", "--state", state).code == OK
    spool = Spool(state / "spool")
    place = folder_in(spool)
    (spool.journal.folder / f"{'0' * 36}.jsonl").mkdir()
    (spool.journal.folder / "1.jsonl").write_bytes(b"\xff\n")
    spool.write_report(b"no DICOM at all")
    put(spool, dx(study="good"))
    command = [sys.executable, "-m", "triage", "ingest", "--state", state]
    with running(command, log=log) as process:
        wait_until(lambda: "ingest.indexed" in log.read_text(), process, "ingest")
        missing = spool.root / "in" / "ff"
        missing.rmdir()
        wait_until(lambda: "spool.away" in log.read_text(), process, "ingest")
        missing.mkdir()
        put(spool, dx(study="later"))
        wait_until(lambda: log.read_text().count("ingest.indexed") == 2, process, "ingest")
        assert process.poll() is None
    text = log.read_text()
    assert "Traceback" not in text
    assert text.count("spool.passed-over") == 2
    assert spool.incoming(10) == [place]
