"""The oldest months leave the trail, and what stays is still proved whole."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from db import audit, retire, retired, roles, schema
from db.engine import Database, now
from db.retired import Bridge, Retired
from db.signed import CheckpointError
from db.tables import AuditRow, AuditSealRow
from tests.db.test_audit import KEY, OLD, seal_all, verdict
from tests.db.test_audit import tamper as without_guards
from tests.db.test_roles import attempt

BEFORE = datetime(2015, 3, 1, tzinfo=UTC)
OF_JANUARY = datetime(2015, 1, 15, tzinfo=UTC)
OF_FEBRUARY = datetime(2015, 2, 28, 23, 59, 59, tzinfo=UTC)
OF_MARCH = datetime(2015, 3, 1, tzinfo=UTC)


def write(database: Database, *moments: datetime) -> None:
    """Write and seal a row for each moment, in this order."""
    with database.begin() as session:
        for at in moments:
            session.add(AuditRow(at=at, **dict(OLD)))
            session.flush()
    seal_all(database)


def partitions(database: Database) -> dict[str, int]:
    """Give how many rows each table of the trail holds."""
    with database.reading() as session:
        names = sorted(schema.months(session.connection()))
        return {
            name: session.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
            for name in names
        }


@pytest.fixture
def old(database: Database) -> Database:
    """Two months and a third; a February row was sealed after the first of March."""
    write(database, OF_JANUARY, OF_JANUARY, OF_FEBRUARY, OF_MARCH, OF_FEBRUARY, OF_MARCH)
    with database.begin() as session:
        audit.record(session, audit.Entry(event=audit.Event.AUDIT_LOG_USED, actor="ada"))
    seal_all(database)
    return database


def take_out(database: Database, before: datetime = BEFORE) -> Retired:
    with database.begin() as session:
        plan = retire.plan(session, before)
        assert plan is not None
        retire.remove(session, plan)
    return Retired({plan.seq: plan.row_hash}, plan.loose)


class TestRetire:
    def test_it_plans_the_prefix_and_names_what_was_sealed_late(self, old: Database) -> None:
        with old.reading() as session:
            plan = retire.plan(session, BEFORE)
            assert plan is not None
            assert (plan.seq, plan.rows, list(plan.loose)) == (3, 4, [5])
            assert [pair.seq for pair in retire.going(session, plan)] == [1, 2, 3, 5]
            assert retire.plan(session, OF_JANUARY) is None

    def test_the_rest_verifies_over_the_bridge_and_not_without_it(self, old: Database) -> None:
        before = verdict(old)
        bridges = take_out(old)
        with old.reading() as session:
            kept = audit.verify(session, {7: before.head}, bridges)
            assert (kept.ok, kept.retired, kept.sealed, kept.head) == (True, 3, 4, before.head)
            assert session.scalar(select(func.count()).select_from(AuditRow)) == 3
            assert session.scalar(select(func.min(AuditSealRow.seq))) == 4
        assert verdict(old).problem == "seal 1 is missing"
        write(old, now_of(old))
        with old.reading() as session:
            assert audit.verify(session, {}, bridges).ok

    def test_a_second_retirement_bridges_the_first(self, old: Database) -> None:
        first = take_out(old)
        second = take_out(old, datetime(2015, 4, 1, tzinfo=UTC))
        assert list(second.ends) == [6]
        with old.reading() as session:
            both = Retired({**first.ends, **second.ends}, {**first.loose, **second.loose})
            found = audit.verify(session, {}, both)
            assert (found.ok, found.retired, found.sealed) == (True, 6, 1)

    @pytest.mark.parametrize(
        ("statements", "bad"),
        [
            (["DELETE FROM audit_seal WHERE seq = 4", "DELETE FROM audit WHERE id = 4"], 1),
            (["DELETE FROM audit WHERE id = 6"], 6),
            (["UPDATE audit SET actor = 'nobody' WHERE id = 4"], 4),
            (["UPDATE audit_seal SET row_hash = prev_hash WHERE seq = 5"], 5),
        ],
        ids=["first kept one cut", "row deleted", "row edited", "loose seal edited"],
    )
    def test_tampering_behind_the_bridge_is_found(
        self, old: Database, statements: list[str], bad: int
    ) -> None:
        bridges = take_out(old)
        without_guards(old, *statements)
        with old.reading() as session:
            assert audit.verify(session, {}, bridges).first_bad_seq == bad

    def test_the_triggers_stand_again_behind_it(self, old: Database) -> None:
        take_out(old)
        for table in ("audit", "audit_seal"):
            with pytest.raises(IntegrityError, match="append-only"), old.begin() as session:
                session.execute(text(f"DELETE FROM {table}"))
        assert schema.check(old.engine.url.render_as_string(hide_password=False)) == []

    def test_an_all_too_young_row_is_not_planned(self, database: Database) -> None:
        with database.begin() as session:
            audit.record(session, audit.Entry(event=audit.Event.EXPORT, actor="ada"))
        seal_all(database)
        with database.reading() as session:
            assert retire.plan(session, BEFORE) is None


def now_of(database: Database) -> datetime:
    with database.reading() as session:
        return now(session)


class TestBridges:
    BRIDGE = Bridge(
        seq=3, row_hash="a" * 64, loose={5: "b" * 64}, rows=4, before="2015-03-01",
        archive="x.jsonl.gz", archive_sha256="c" * 64,
    )  # fmt: skip

    def test_what_is_signed_is_read_and_a_changed_letter_is_not(self, tmp_path: Path) -> None:
        path = tmp_path / "audit.retired"
        assert retired.load(path, KEY) == retired.NOTHING
        retired.note(path, KEY, self.BRIDGE)
        retired.note(path, KEY, self.BRIDGE)
        assert len(path.read_text().splitlines()) == 1
        found = retired.load(path, KEY)
        assert (found.ends, found.loose) == ({3: "a" * 64}, {5: "b" * 64})
        assert found.archives == {"x.jsonl.gz": "c" * 64}
        path.write_text(path.read_text().replace('"seq":3', '"seq":4'))
        with pytest.raises(CheckpointError):
            retired.load(path, KEY)


@pytest.mark.postgres
class TestMonths:
    def test_a_row_without_a_month_is_kept_and_moves_into_it(
        self, postgres_database: Database
    ) -> None:
        write(postgres_database, OF_JANUARY, OF_FEBRUARY)
        assert partitions(postgres_database)["audit_rest"] == 2
        with postgres_database.begin() as session:
            for _ in range(2):
                session.execute(text("SELECT make_audit_month('2015-01-31')"))
        found = partitions(postgres_database)
        assert (found["audit_rest"], found["audit_2015_01"]) == (1, 1)
        assert verdict(postgres_database).ok
        with postgres_database.begin() as session:
            session.execute(text("DROP TABLE audit_2015_01"))

    def test_this_month_and_three_more_are_there(self, postgres_database: Database) -> None:
        at = now_of(postgres_database)
        for _ in range(3):
            at = retire.month_of(at) + timedelta(days=40)
        wanted = f"audit_{at:%Y_%m}"
        with postgres_database.begin() as session:
            session.execute(text(f"DROP TABLE IF EXISTS {wanted}"))
            assert retire.make_months(session) == 1
            assert retire.make_months(session) == 0
        assert wanted in partitions(postgres_database)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE {month} SET actor = 'nobody'", "DELETE FROM {month}", "TRUNCATE {month}",
            "TRUNCATE audit CASCADE", "UPDATE audit SET at = at - interval '1 year'",
        ],
    )  # fmt: skip
    def test_a_month_by_itself_is_no_way_around(
        self, postgres_database: Database, statement: str
    ) -> None:
        at = now_of(postgres_database)
        write(postgres_database, at)
        words = text(statement.format(month=f"audit_{at:%Y_%m}"))
        with (
            pytest.raises(IntegrityError, match="append-only"),
            postgres_database.begin() as session,
        ):
            session.execute(words)

    @pytest.mark.parametrize("day", ["2999-01-01", None])
    def test_no_month_is_made_far_ahead(self, postgres_database: Database, day: str | None) -> None:
        with pytest.raises(DBAPIError, match="not made"), postgres_database.begin() as session:
            session.execute(text("SELECT make_audit_month(CAST(:day AS date))"), {"day": day})

    def test_a_month_without_its_trigger_is_named(self, postgres_empty: str) -> None:
        schema.upgrade(postgres_empty)
        at = datetime.now(UTC)
        from tests.conftest import opened

        for database in opened(postgres_empty):
            with database.begin() as session:
                trigger = "audit_month_refuses_truncate"
                session.execute(text(f"DROP TRIGGER {trigger} ON audit_{at:%Y_%m}"))
        assert schema.check(postgres_empty) == [
            f"trigger audit_month_refuses_truncate is missing on audit_{at:%Y_%m}"
        ]

    def test_the_programs_role_has_months_made_and_takes_none_out(
        self, postgres_database: Database
    ) -> None:
        with postgres_database.begin() as session:
            for role in ("t_program", "t_auditor"):
                session.execute(
                    text(
                        f"DO $$ BEGIN CREATE ROLE {role}; "
                        "EXCEPTION WHEN duplicate_object THEN NULL; END $$"
                    )
                )
            roles.apply(session.connection(), "t_program", "t_auditor")
            session.execute(text("DROP TABLE IF EXISTS audit_2015_05"))
        with postgres_database.begin() as session:
            session.execute(text("SET LOCAL ROLE t_program"))
            assert not retire.may_retire(session)
            assert session.execute(text("SELECT make_audit_month('2015-05-05')")).scalar()
        for statement in (
            "DELETE FROM audit_2015_05", "DROP TABLE audit_2015_05",
            "ALTER TABLE audit DETACH PARTITION audit_2015_05", "SELECT * FROM audit_2015_05",
        ):  # fmt: skip
            with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
                attempt(postgres_database, "t_program", statement)
        with postgres_database.begin() as session:
            assert retire.may_retire(session)
            session.execute(text("DROP TABLE audit_2015_05"))


def test_a_trail_with_seals_goes_down_and_up_and_still_verifies(empty_url: str) -> None:
    """The migration that parts it into months moves every row, its number and its seal."""
    from tests.conftest import opened

    schema.upgrade(empty_url)
    for database in opened(empty_url):
        write(database, OF_JANUARY, OF_FEBRUARY, now_of(database))
        before = verdict(database)
    for to in ("0011", schema.head()):
        (schema.downgrade if to == "0011" else schema.upgrade)(empty_url, to)
        for database in opened(empty_url):
            if to != "0011":
                write(database, now_of(database))
                after = verdict(database, {3: before.head})
                assert (after.ok, after.sealed) == (True, 4)
                if empty_url.startswith("postgresql"):
                    assert partitions(database)["audit_2015_01"] == 1
                    assert partitions(database)["audit_rest"] == 0
