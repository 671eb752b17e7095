"""Whatever is done to the trail is refused, or found."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from db import audit, checkpoint, lifecycle
from db.audit import record, record_alone, seal, verify
from db.chain import GENESIS
from db.checkpoint import CheckpointError
from db.engine import Database, connect, now
from db.states import StudyState
from db.tables import AuditRow, AuditSealRow
from tests.db import builders
from tests.db.builders import entry

KEY = b"0123456789abcdef0123456789abcdef"
OLD = {"event_id": "110100", "action": "E", "outcome": 0, "actor": "worker"}
KNOWN_HASH = "70bfd0da2a20b566df04b284926f257c44cdb65661edf62c8345c2edabed50e4"
GUARDED = ("audit", "audit_seal", "transition")


def write(database: Database, count: int = 1) -> None:
    with database.begin() as session:
        for number in range(count):
            record(session, entry(detail={"number": number}))


def test_a_row_alone_is_the_row_of_a_session(database: Database) -> None:
    write(database)
    record_alone(database, entry(detail={"number": 0}))
    with database.reading() as session:
        one, other = session.scalars(select(AuditRow).order_by(AuditRow.id)).all()
    columns = [column.name for column in AuditRow.__table__.columns]
    unlike = [name for name in columns if getattr(one, name) != getattr(other, name)]
    assert set(unlike) <= {"id", "at"}
    assert timedelta() <= other.at - one.at < timedelta(minutes=1)
    assert seal_all(database) == 2
    with pytest.raises(TypeError, match="by a session"):
        record_alone(database, entry(event_uid="1"))


def seal_all(database: Database, limit: int = 1000) -> int:
    total = 0
    while True:
        with database.begin() as session:
            found = seal(session, limit=limit)
        total += found
        if not found:
            return total


def verdict(database: Database, remembered: dict[int, str] | None = None) -> audit.Verdict:
    with database.reading() as session:
        return verify(session, remembered)


def tamper(database: Database, *statements: str) -> None:
    """Do what only the database's owner can: without triggers and foreign keys."""
    with database.engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        connection.rollback()
        if connection.dialect.name == "sqlite":
            raw.execute("PRAGMA foreign_keys=OFF")
            for table in GUARDED:
                for verb in ("update", "delete"):
                    raw.execute(f"DROP TRIGGER IF EXISTS {table}_refuses_{verb}")
        else:
            raw.autocommit = True
            raw.execute("SET session_replication_role = replica")
        for statement in statements:
            raw.execute(statement)
        connection.invalidate()


@pytest.fixture
def trail(database: Database) -> Database:
    """Ten sealed rows."""
    write(database, 10)
    assert seal_all(database) == 10
    return database


class TestTriggers:
    @pytest.mark.parametrize("table", GUARDED)
    @pytest.mark.parametrize("change", ["UPDATE {} SET {}", "DELETE FROM {}"])
    def test_a_written_row_is_neither_changed_nor_deleted(
        self, database: Database, table: str, change: str
    ) -> None:
        held = builders.claimed(database, builders.new_study(database))
        builders.finish(database, held)
        seal_all(database)
        column = {"audit_seal": "row_hash = prev_hash"}.get(table, "actor = 'nobody'")
        with pytest.raises(IntegrityError, match="append-only"), database.begin() as session:
            session.execute(text(change.format(table, column)))
        assert verdict(database).ok

    @pytest.mark.postgres
    @pytest.mark.parametrize("table", GUARDED)
    def test_a_table_is_not_emptied(self, postgres_database: Database, table: str) -> None:
        with pytest.raises(IntegrityError), postgres_database.begin() as session:
            session.execute(text(f"TRUNCATE {table} CASCADE"))

    def test_no_effect_without_its_audit_row(self, database: Database) -> None:
        held = builders.claimed(database, builders.new_study(database))
        refuse = {
            "sqlite": ["CREATE TRIGGER full BEFORE INSERT ON audit "
                       "BEGIN SELECT RAISE(ABORT, 'disk full'); END"],
            "postgresql": ["CREATE TRIGGER full_disk BEFORE INSERT ON audit "
                           "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"],
        }  # fmt: skip
        with database.begin() as session:
            for statement in refuse[database.engine.dialect.name]:
                session.execute(text(statement))
        with pytest.raises(DBAPIError):
            builders.finish(database, held)
        with database.begin() as session:
            drop = {"sqlite": "full", "postgresql": "full_disk ON audit"}
            session.execute(text(f"DROP TRIGGER {drop[database.engine.dialect.name]}"))
        assert builders.get(database, held.study_id).state == StudyState.READY
        assert builders.arrows(database, held.study_id) == []


class TestSeal:
    def test_every_row_is_sealed_once_and_the_chain_holds(self, trail: Database) -> None:
        found = verdict(trail)
        assert (found.ok, found.sealed, found.unsealed, found.overdue) == (True, 10, 0, 0)
        assert found.head != GENESIS
        assert seal_all(trail) == 0

    def test_an_empty_trail_holds(self, database: Database) -> None:
        found = verdict(database)
        assert (found.ok, found.sealed, found.head) == (True, 0, GENESIS)

    def test_it_seals_a_limited_number_at_a_time(self, database: Database) -> None:
        write(database, 7)
        with database.begin() as session:
            assert seal(session, limit=3) == 3
        assert (verdict(database).sealed, verdict(database).unsealed) == (3, 4)
        assert seal_all(database, limit=3) == 4

    def test_new_rows_are_found_without_a_look_back(self, database: Database) -> None:
        for count in (4, 0, 2):
            write(database, count)
            with database.begin() as session:
                assert seal(session, back=0) == count
        found = verdict(database)
        assert (found.ok, found.sealed, found.unsealed) == (True, 6, 0)

    def test_rows_written_in_the_same_transaction_are_sealed_as_stored(
        self, database: Database
    ) -> None:
        with database.begin() as session:
            record(session, entry(detail={"text": "naïve \u202e"}))
            assert seal(session) == 1
        assert verdict(database).ok

    def test_sealers_at_the_same_moment_do_no_harm(self, database: Database) -> None:
        write(database, 60)

        def work(_: int) -> int:
            total = 0
            for _turn in range(2000):  # who finds another at it does nothing, and is soon round
                with database.begin() as session:
                    total += seal(session, limit=5)
                if not verdict(database).unsealed:
                    break
            return total

        with ThreadPoolExecutor(3) as pool:
            assert sum(pool.map(work, range(3))) == 60
        assert verdict(database).ok

    @pytest.mark.postgres
    def test_a_row_that_commits_late_is_sealed_late(self, postgres_database: Database) -> None:
        """Its id is smaller than those of rows that were sealed before it could be seen."""
        database = postgres_database
        with database.begin() as late:
            record(late, entry(kind="late"))
            late.flush()
            write(database, 3)
            assert seal_all(database) == 3
        assert verdict(database).unsealed == 1
        with database.begin() as session:
            assert seal(session, back=0) == 0  # it is older than the newest seal
        assert seal_all(database) == 1
        found = verdict(database)
        assert (found.ok, found.sealed, found.unsealed) == (True, 4, 0)

    @pytest.mark.postgres
    def test_even_a_row_that_commits_very_late_is_sealed(
        self, postgres_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(audit, "WINDOW", 5)
        database = postgres_database
        with database.begin() as late:
            record(late, entry(kind="late"))
            late.flush()
            write(database, 8)
            assert seal_all(database) == 8
        assert seal_all(database) == 0
        write(database, 2)
        assert seal_all(database) == 3
        assert (verdict(database).ok, verdict(database).unsealed) == (True, 0)

    def test_rows_that_nobody_seals_are_counted(self, database: Database) -> None:
        with database.begin() as session:
            record(session, entry())
            session.add(AuditRow(at=now(session) - timedelta(hours=2), **dict(OLD)))
        found = verdict(database)
        assert (found.ok, found.unsealed, found.overdue) == (True, 2, 1)


class TestTampering:
    @pytest.mark.parametrize(
        "change",
        [
            "at = '2020-01-01 00:00:00'", "event_id = '110104'", "event_type = 'x'",
            "action = 'R'", "outcome = 12", "actor = 'somebody'", "actor_role = 'admin'",
            "ae_title = 'X'", "network_address = '10.0.0.1'", "object_type = 'user'",
            "object_id = '2.25.2'", "detail = '{}'", "event_uid = 'x'",
        ],
    )  # fmt: skip
    def test_an_edited_field_is_found(self, trail: Database, change: str) -> None:
        tamper(trail, f"UPDATE audit SET {change} WHERE id = 4")
        found = verdict(trail)
        assert (found.ok, found.sealed, found.first_bad_seq) == (False, 3, 4)
        assert found.problem == "audit row 4 was changed"

    def test_every_column_is_under_the_seal(self, trail: Database) -> None:
        """A column added later must be tried above, too."""
        tried = {"at", "event_id", "event_type", "action", "outcome", "actor", "actor_role"}
        tried |= {"ae_title", "network_address", "object_type", "object_id", "detail", "event_uid"}
        assert tried | {"id"} == {column.key for column in AuditRow.__table__.columns}

    @pytest.mark.parametrize(
        ("statements", "problem"),
        [
            (["DELETE FROM audit WHERE id = 4"], "audit row 4 was removed"),
            (
                ["DELETE FROM audit_seal WHERE seq = 4", "DELETE FROM audit WHERE id = 4"],
                "seal 4 is missing",
            ),
            (
                [
                    "DELETE FROM audit_seal WHERE seq = 4",
                    "DELETE FROM audit WHERE id = 4",
                    *(f"UPDATE audit_seal SET seq = {n - 1} WHERE seq = {n}" for n in range(5, 11)),
                ],
                "the chain was cut or reordered",
            ),
            (
                [
                    "UPDATE audit_seal SET audit_id = 100 WHERE seq = 4",
                    "UPDATE audit_seal SET audit_id = 4 WHERE seq = 5",
                    "UPDATE audit_seal SET audit_id = 5 WHERE seq = 4",
                ],
                "audit row 5 was changed",
            ),
            (
                [
                    "UPDATE audit_seal SET seq = 100 WHERE seq = 4",
                    "UPDATE audit_seal SET seq = 4 WHERE seq = 5",
                    "UPDATE audit_seal SET seq = 5 WHERE seq = 100",
                ],
                "the chain was cut or reordered",
            ),
        ],
        ids=["row deleted", "row and seal deleted", "renumbered", "rows swapped", "seals swapped"],
    )
    def test_a_deletion_or_another_order_is_found(
        self, trail: Database, statements: list[str], problem: str
    ) -> None:
        tamper(trail, *statements)
        found = verdict(trail)
        assert (found.first_bad_seq, found.problem) == (4, problem)

    def test_a_row_slipped_in_between_is_found(self, trail: Database) -> None:
        tamper(
            trail,
            "INSERT INTO audit (id, at, event_id, event_type, action, outcome, actor, actor_role,"
            " ae_title, network_address, object_type, object_id, detail) SELECT 99, at, event_id,"
            " event_type, action, outcome, actor, actor_role, ae_title, network_address,"
            " object_type, object_id, detail FROM audit WHERE id = 4",
            "UPDATE audit_seal SET audit_id = 99 WHERE seq = 4",
        )
        assert verdict(trail).first_bad_seq == 4


class TestCheckpoints:
    """What the chain alone cannot show."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "audit.checkpoints"

    @pytest.fixture
    def noted(self, trail: Database, path: Path) -> Database:
        """Ten rows and a checkpoint, three more rows and another."""
        self.take(trail, path)
        write(trail, 3)
        seal_all(trail)
        self.take(trail, path)
        return trail

    def take(self, database: Database, path: Path) -> checkpoint.Checkpoint | None:
        with database.reading() as session:
            return checkpoint.take(session, path, KEY)

    def test_an_untouched_trail_agrees_with_its_checkpoints(
        self, noted: Database, path: Path
    ) -> None:
        remembered = checkpoint.load(path, KEY)
        assert list(remembered) == [10, 13]
        assert verdict(noted, remembered).ok
        assert path.stat().st_mode & 0o777 == 0o600

    def test_nothing_new_is_not_noted_again(self, noted: Database, path: Path) -> None:
        before = path.read_bytes()
        assert self.take(noted, path) is None
        assert path.read_bytes() == before

    def test_a_cut_tail_is_found(self, noted: Database, path: Path) -> None:
        tamper(noted, "DELETE FROM audit_seal WHERE seq > 11", "DELETE FROM audit WHERE id > 11")
        assert verdict(noted).ok
        found = verdict(noted, checkpoint.load(path, KEY))
        assert (found.ok, found.problem) == (False, "seals after 11 were cut off")

    def test_a_chain_written_anew_is_found(self, noted: Database, path: Path) -> None:
        tamper(noted, "UPDATE audit SET actor = 'nobody' WHERE id = 12", "DELETE FROM audit_seal")
        assert seal_all(noted) == 13
        assert verdict(noted).ok
        found = verdict(noted, checkpoint.load(path, KEY))
        assert (found.first_bad_seq, found.sealed) == (13, 12)
        assert "written anew" in found.problem

    @pytest.mark.parametrize(
        "change",
        [
            lambda content: content.replace(b"10 ", b"11 ", 1),
            lambda content: content.replace(b"+00:00", b"+01:00", 1),
            lambda content: content[content.index(b"\n") + 1 :],
            lambda content: b"nonsense\n" + content,
            lambda content: content[:-1] + b"\xff\n",
        ],
        ids=["number", "time", "line removed", "line added", "no text"],
    )
    def test_a_changed_file_is_found(
        self, noted: Database, path: Path, change: Callable[[bytes], bytes]
    ) -> None:
        changed = change(path.read_bytes())
        assert changed != path.read_bytes()
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match="line"):
            checkpoint.load(path, KEY)

    def test_another_key_fits_no_line(self, noted: Database, path: Path) -> None:
        with pytest.raises(CheckpointError):
            checkpoint.load(path, KEY[::-1])

    def test_a_line_torn_by_a_crash_is_written_over(self, noted: Database, path: Path) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole[:-30])
        assert list(checkpoint.load(path, KEY)) == [10]
        assert self.take(noted, path) is not None
        assert list(checkpoint.load(path, KEY)) == [10, 13]
        # Of so many fields, not bytes: a time of a whole second is written shorter.
        fields = [len(line.split()) for line in path.read_bytes().splitlines()]
        assert fields == [len(line.split()) for line in whole.splitlines()]


def test_the_chain_is_the_same_on_both_databases(database: Database) -> None:
    """A known row gives a known hash, so that a moved trail still verifies."""
    with database.begin() as session:
        at = now(session).replace(2026, 1, 2, 3, 4, 5, 678000)
        session.add(AuditRow(id=1, at=at, **dict(OLD), detail='{"n": 1}'))
    seal_all(database)
    with database.reading() as session:
        assert session.scalar(select(AuditSealRow.row_hash)) == KNOWN_HASH
        assert session.scalar(select(func.count()).select_from(AuditSealRow)) == 1


def test_an_audit_row_and_its_effect_are_one(url: str) -> None:
    database = connect(url)
    held = builders.claimed(database, builders.new_study(database))
    builders.finish(database, held)
    with pytest.raises(lifecycle.StaleStudyError):
        builders.finish(database, held)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(AuditRow)) == 1
    database.dispose()
