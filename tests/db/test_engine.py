"""Transactions behave as the rest of the product believes they do."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, StatementError
from sqlalchemy.pool import Pool

from db.engine import BUSY_TIMEOUT_S, FRESH_S, Database, connect, is_transient, now
from db.lifecycle import Claim
from db.states import StudyState
from db.tables import InstanceRow, OutboxRow, StudyRow, UserRow
from tests import servers
from tests.conftest import NUMBERS, opened
from tests.db import builders

CANARY = "CANARY^NAME"


class TestTransactions:
    def test_an_error_rolls_everything_back(self, database: Database) -> None:
        def fail() -> None:
            with database.begin() as session:
                builders.add_study(session)
                raise LookupError

        with pytest.raises(LookupError):
            fail()
        with database.reading() as session:
            assert session.scalar(select(StudyRow.id)) is None

    def test_a_reader_sees_the_past_and_does_not_wait(self, database: Database) -> None:
        study_id = builders.new_study(database, priority=1)
        with database.begin() as writer:
            writer.get_one(StudyRow, study_id).priority = 2
            writer.flush()
            assert builders.get(database, study_id).priority == 1

    def test_a_writer_does_not_wait_for_a_reader(self, database: Database) -> None:
        study_id = builders.new_study(database, priority=1)
        with database.reading() as reader:
            assert reader.get_one(StudyRow, study_id).priority == 1
            with database.begin() as writer:
                writer.get_one(StudyRow, study_id).priority = 2
        assert builders.get(database, study_id).priority == 2

    def test_a_reader_cannot_write(self, database: Database) -> None:
        study_id = builders.new_study(database)
        with pytest.raises(DBAPIError, match=r"read-?only"), database.reading() as session:
            session.get_one(StudyRow, study_id).priority = 2

    def test_reading_leaves_the_connection_fit_for_writing(self, database: Database) -> None:
        for _ in range(10):
            with database.reading() as session:
                session.scalar(select(StudyRow.id))
            builders.new_study(database)
        with database.reading() as session:
            assert len(session.scalars(select(StudyRow.id)).all()) == 10

    def test_foreign_keys_hold(self, database: Database) -> None:
        held = Claim(10**6, StudyState.READY, 1, "w")
        with pytest.raises(IntegrityError), database.begin() as session:
            session.add_all(builders.result_rows(session, held))

    def test_bytes_and_large_numbers_come_back(self, database: Database) -> None:
        study_id = builders.new_study(database)
        with database.begin() as session:
            at = now(session)
            held = Claim(study_id, StudyState.READY, 1, "w")
            report = builders.result_rows(session, held)[2]
            assert isinstance(report, OutboxRow)
            report.content = bytes(range(256))
            session.add(report)
            session.add(
                InstanceRow(
                    study_id=study_id, sop_instance_uid="1", sop_class_uid="1", sha256="0",
                    series_instance_uid="1", transfer_syntax_uid="1", size_bytes=4_294_967_296,
                    source_ae_title="PACS", received_at=at,
                )
            )  # fmt: skip
        with database.reading() as session:
            assert session.scalar(select(OutboxRow.content)) == bytes(range(256))
            assert session.scalar(select(InstanceRow.size_bytes)) == 4_294_967_296


class TestTime:
    def test_it_is_the_databases_and_knows_its_zone(self, database: Database) -> None:
        with database.reading() as session:
            at = now(session)
        assert at.utcoffset() == timedelta(0)
        assert abs(at - datetime.now(UTC)) < timedelta(seconds=5)

    def test_it_goes_on_inside_a_transaction(self, database: Database) -> None:
        with database.reading() as session:
            first = now(session)
            threading.Event().wait(0.01)
            assert now(session) > first

    def test_it_comes_back_as_it_was_stored(self, database: Database) -> None:
        paris = timezone(timedelta(hours=2))
        moment = datetime(2026, 3, 29, 2, 30, 0, 123456, tzinfo=paris)
        study_id = builders.new_study(database, received_at=moment)
        found = builders.get(database, study_id).received_at
        assert found == moment
        assert found.utcoffset() == timedelta(0)

    def test_a_time_without_a_zone_is_refused(self, database: Database) -> None:
        naive = datetime(2026, 1, 1)  # noqa: DTZ001 - that is the point
        with pytest.raises(StatementError, match="naive time"):
            builders.new_study(database, received_at=naive)


class TestErrors:
    def test_a_broken_constraint_quotes_no_value(self, database: Database) -> None:
        uid = f"{CANARY}.1"
        builders.new_study(database, study_instance_uid=uid, patient_name=CANARY)
        with pytest.raises(IntegrityError) as caught:
            builders.new_study(database, study_instance_uid=uid, patient_name=CANARY)
        assert CANARY not in everything_said(caught.value)
        assert "study_instance_uid" in str(caught.value)

    @pytest.mark.postgres
    @pytest.mark.parametrize("kind", ["integer", "timestamptz"])
    def test_a_value_that_does_not_fit_is_not_quoted(
        self, postgres_database: Database, kind: str
    ) -> None:
        with pytest.raises(DBAPIError) as caught, postgres_database.reading() as session:
            session.execute(text(f"SELECT CAST(:it AS {kind})"), {"it": CANARY})
        assert CANARY not in everything_said(caught.value)

    def test_a_missing_value_names_its_column(self, database: Database) -> None:
        with pytest.raises(IntegrityError) as caught:
            builders.new_study(database, study_instance_uid=None, patient_name=CANARY)
        assert "study_instance_uid" in str(caught.value)
        assert CANARY not in everything_said(caught.value)


def everything_said(error: BaseException) -> str:
    """Give the text of an error and of all it came from, as a traceback prints them."""
    said, link = "", error
    while link is not None:
        said += f"{link} {link.args}"
        link = link.__cause__ or link.__context__  # type: ignore[assignment]
    return said


class TestSqlite:
    def test_every_commit_is_flushed_and_the_log_is_written_ahead(
        self, sqlite_database: Database
    ) -> None:
        with sqlite_database.reading() as session:
            pragmas = ["journal_mode", "synchronous", "foreign_keys", "busy_timeout"]
            found = [session.scalar(text(f"PRAGMA {name}")) for name in pragmas]
        assert found == ["wal", 2, 1, BUSY_TIMEOUT_S * 1000]

    def test_writers_begin_immediate_and_readers_do_not(self, sqlite_database: Database) -> None:
        """And neither asks for more: a pragma would have SQLite prepare every statement anew."""
        said: list[str] = []
        for engine in (sqlite_database.engine, sqlite_database.readers):
            engine.dispose()
            event.listen(engine, "connect", lambda raw, _: raw.set_trace_callback(said.append))
        for _ in range(2):
            with sqlite_database.begin() as session:
                session.scalar(text("SELECT 1"))
            with sqlite_database.reading() as session:
                session.scalar(text("SELECT 2"))
        assert said == ["BEGIN IMMEDIATE", "SELECT 1", "COMMIT", "BEGIN", "SELECT 2", "COMMIT"] * 2

    def test_a_statement_alone_is_one_word_to_the_database(self, sqlite_database: Database) -> None:
        sqlite_database.dispose()
        said: list[str] = []

        def listen(raw: sqlite3.Connection, _: object) -> None:
            raw.set_trace_callback(said.append)

        event.listen(Pool, "connect", listen)
        try:
            with sqlite_database.alone() as connection:
                said.clear()  # what every connection is told first
                connection.execute(text("CREATE TABLE alone (x)"))
            with sqlite_database.bare() as raw:
                raw.execute("INSERT INTO alone VALUES (1)")
        finally:
            event.remove(Pool, "connect", listen)
        assert said == ["CREATE TABLE alone (x)", "INSERT INTO alone VALUES (1)"]
        with sqlite_database.reading() as session:
            assert session.scalar(text("SELECT count(*) FROM alone")) == 1

    def test_a_writer_waits_for_the_one_before_it(self, sqlite_database: Database) -> None:
        """A deferred BEGIN would fail here at once with "database is locked"."""
        study_id = builders.new_study(sqlite_database, priority=0)

        def add() -> None:
            with sqlite_database.begin() as session:
                row = session.get_one(StudyRow, study_id)
                threading.Event().wait(0.005)
                row.priority += 1

        threads = [threading.Thread(target=add) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert builders.get(sqlite_database, study_id).priority == 8

    def test_the_files_are_their_owners_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "state" / "rows.sqlite"
        for database in opened(f"sqlite:///{path}"):
            with database.begin() as session:
                session.execute(text("CREATE TABLE t (x)"))
            modes = {one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
            assert modes == {0o600}
            assert path.parent.stat().st_mode & 0o777 == 0o700

    def test_a_busy_file_is_a_passing_trouble(self, sqlite_database: Database) -> None:
        path = sqlite_database.engine.url.database
        assert path
        busy = sqlite3.connect(path, isolation_level=None)
        busy.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(OperationalError) as caught, Impatient(sqlite_database):
                builders.new_study(sqlite_database)
        finally:
            busy.close()
        assert is_transient(caught.value)


class Impatient:
    """A database whose connections do not wait for a lock."""

    def __init__(self, database: Database) -> None:
        self.engine = database.engine

    def __enter__(self) -> None:
        self.engine.dispose()
        event.listen(self.engine, "connect", self._hurry)

    def __exit__(self, *_: object) -> None:
        event.remove(self.engine, "connect", self._hurry)
        self.engine.dispose()

    @staticmethod
    def _hurry(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout=0")


@pytest.mark.postgres
class TestPostgres:
    def test_a_careless_setting_does_not_lose_commits(
        self, postgres_server: servers.Postgres
    ) -> None:
        url = postgres_server.new_database(f"careless_{next(NUMBERS)}")
        for database in opened(url):
            with database.begin() as session:
                name = session.scalar(text("SELECT current_database()"))
                session.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
        for database in opened(url):
            with database.reading() as session:
                assert session.scalar(text("SHOW synchronous_commit")) == "on"

    def test_nobody_waits_or_idles_for_ever(self, postgres_database: Database) -> None:
        with postgres_database.reading() as session:
            assert session.scalar(text("SHOW lock_timeout")) == f"{BUSY_TIMEOUT_S}s"
            assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "1min"

    def test_a_deadlock_is_a_passing_trouble(self, postgres_database: Database) -> None:
        ids = [builders.new_study(postgres_database) for _ in range(2)]
        meeting = threading.Barrier(2)
        errors: list[DBAPIError] = []

        def lock(order: list[int]) -> None:
            try:
                with postgres_database.begin() as session:
                    session.get_one(StudyRow, order[0], with_for_update=True)
                    meeting.wait(60)
                    session.get_one(StudyRow, order[1], with_for_update=True)
            except DBAPIError as why:
                errors.append(why)

        threads = [threading.Thread(target=lock, args=(order,)) for order in (ids, ids[::-1])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [is_transient(error) for error in errors] == [True]

    def test_a_cut_connection_is_a_passing_trouble(self, postgres_database: Database) -> None:
        def cut() -> None:
            with postgres_database.begin() as session:
                pid = session.scalar(text("SELECT pg_backend_pid()"))
                with postgres_database.begin() as other:
                    other.execute(text(f"SELECT pg_terminate_backend({pid})"))
                session.execute(text("SELECT 1"))

        with pytest.raises(DBAPIError) as caught:
            cut()
        assert is_transient(caught.value)
        builders.new_study(postgres_database)

    def test_a_connection_that_was_cut_while_it_rested_is_exchanged(
        self, postgres_database: Database
    ) -> None:
        kinds = postgres_database.begin, postgres_database.alone
        for ours, other in (kinds, kinds[::-1]):
            with ours() as one:
                pid = one.scalar(text("SELECT pg_backend_pid()"))
            with other() as one:
                one.execute(text(f"SELECT pg_terminate_backend({pid})"))
            time.sleep(FRESH_S)
            with ours() as one:
                assert one.scalar(text("SELECT pg_backend_pid()")) != pid

    def test_a_connection_in_use_a_moment_ago_is_not_asked(
        self, postgres_database: Database
    ) -> None:
        with postgres_database.alone() as one:
            pid = one.scalar(text("SELECT pg_backend_pid()"))
        with postgres_database.begin() as session:
            session.execute(text(f"SELECT pg_terminate_backend({pid})"))
        with pytest.raises(DBAPIError) as caught, postgres_database.alone() as one:
            one.scalar(text("SELECT 1"))
        assert is_transient(caught.value)
        with postgres_database.alone() as one:
            assert one.scalar(text("SELECT 1")) == 1

    def test_no_server_is_a_passing_trouble_and_a_wrong_statement_is_not(
        self, postgres_database: Database, tmp_path: Path
    ) -> None:
        for nowhere in opened(f"postgresql://nobody@/none?host={tmp_path}"):
            with pytest.raises(OperationalError) as caught, nowhere.begin() as session:
                session.execute(text("SELECT 1"))
            assert is_transient(caught.value)
        with pytest.raises(DBAPIError) as wrong, postgres_database.begin() as session:
            session.execute(text("SELEKT 1"))
        assert not is_transient(wrong.value)


@pytest.fixture
def memory() -> Iterator[Database]:
    yield from opened("sqlite://")


def test_a_database_in_memory_makes_no_file(
    memory: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for database in (memory, connect("sqlite:///:memory:")):
        with database.begin() as session:
            session.execute(text("CREATE TABLE t (x)"))
        database.dispose()
    assert not list(tmp_path.iterdir())


def test_a_statement_alone_reads_what_is_committed_and_holds_no_transaction(
    database: Database,
) -> None:
    wanted = select(UserRow.name).where(UserRow.name == "looked.at")
    with database.alone() as connection:
        assert connection.execute(wanted).all() == []
        with database.begin() as session:
            user = UserRow(
                name="looked.at", password_hash="", role="admin", created_at=now(session)
            )
            session.add(user)
        assert connection.execute(wanted).scalar_one() == "looked.at"
