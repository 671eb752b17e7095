"""Migrations go up, down and up again, leave no difference, and can be interrupted."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event, inspect, select, text

from db import migrations, schema
from db.engine import Database, now
from db.saved_lists import SavedListRow
from db.schema import SchemaError
from db.tables import UserRow
from tests.conftest import opened

REVISIONS = sorted(schema.known())


def tables(url: str) -> set[str]:
    for database in opened(url):
        with database.reading() as session:
            return set(inspect(session.connection()).get_table_names())
    raise AssertionError


def execute(url: str, statement: str) -> None:
    for database in opened(url):
        with database.begin() as session:
            session.execute(text(statement))


class TestUpAndDown:
    def test_an_empty_database_comes_up_and_fits_the_tables(self, empty_url: str) -> None:
        assert schema.current(empty_url) is None
        schema.upgrade(empty_url)
        assert schema.current(empty_url) == schema.head()
        assert schema.check(empty_url) == []

    def test_up_again_changes_nothing(self, url: str) -> None:
        schema.upgrade(url)
        assert schema.check(url) == []

    def test_down_leaves_nothing_and_up_again_fits(self, empty_url: str) -> None:
        url = empty_url
        schema.upgrade(url)
        schema.downgrade(url, "base")
        assert tables(url) == {schema.VERSION_TABLE}
        assert schema.current(url) is None
        for database in opened(url):
            with database.reading() as session:
                assert functions(session.connection()) == set()
        schema.upgrade(url)
        assert schema.check(url) == []

    def test_every_revision_can_be_left_and_reached(self, empty_url: str) -> None:
        url = empty_url
        schema.upgrade(url)
        for to in REVISIONS:
            schema.downgrade(url, to)
            assert schema.current(url) == to
            schema.upgrade(url)
            assert schema.check(url) == [], to

    def test_a_list_that_was_kept_still_asks_for_what_it_asked(self, empty_url: str) -> None:
        kept = {1: "?list=unread&site=ROOM+1&days=7", 2: "", 3: "?modality=CT"}
        schema.upgrade(empty_url, "0018")
        keep_lists(empty_url, kept)
        schema.upgrade(empty_url)
        now_asks = kept | {1: "?list=unread&source=ROOM+1&days=7"}
        assert kept_lists(empty_url) == now_asks
        keep_lists(empty_url, {4: "?list=held&site=H%C3%B4pital"})
        schema.downgrade(empty_url, "0018")
        assert kept_lists(empty_url) == kept | {4: "?list=held"}

    def test_it_stops_at_the_revision_it_is_told(self, empty_url: str) -> None:
        schema.upgrade(empty_url, "0001")
        assert schema.current(empty_url) == "0001"
        assert any("trigger" in one for one in schema.check(empty_url))


def keep_lists(url: str, queries: dict[int, str]) -> None:
    """Keep lists for an account that is made if there is none."""
    for database in opened(url):
        with database.begin() as session:
            if not session.scalar(text("SELECT count(*) FROM user_account")):
                user = UserRow(id=1, name="a", password_hash="", role="radiologist")
                user.created_at = now(session)
                session.add(user)
                session.flush()
            session.add_all(
                SavedListRow(id=one, user_id=1, name=str(one), query=query, created_at=now(session))
                for one, query in queries.items()
            )


def kept_lists(url: str) -> dict[int, str]:
    """Give the kept lists' queries."""
    found: dict[int, str] = {}
    for database in opened(url):
        with database.reading() as session:
            found = {one.id: one.query for one in session.scalars(select(SavedListRow))}
    return found


def functions(connection: Connection) -> set[str]:
    """Give the names of our own functions; SQLite has none."""
    if connection.dialect.name == "sqlite":
        return set()
    listing = "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    return set(connection.execute(text(listing)).scalars())


class TestCheck:
    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ("ALTER TABLE study ADD COLUMN extra INTEGER", "extra"),
            ("DROP INDEX ix_study_work", "ix_study_work"),
            ("CREATE TABLE stray (id INTEGER)", "stray"),
            ("ALTER TABLE outbox RENAME COLUMN last_error TO latest", "last_error"),
        ],
    )
    def test_a_drift_is_named(self, empty_url: str, change: str, named: str) -> None:
        schema.upgrade(empty_url)
        execute(empty_url, change)
        assert any(named in one for one in schema.check(empty_url))

    @pytest.mark.postgres
    def test_another_type_is_named(self, postgres_empty: str) -> None:
        schema.upgrade(postgres_empty)
        execute(postgres_empty, "ALTER TABLE instance ALTER COLUMN size_bytes TYPE integer")
        execute(postgres_empty, "ALTER TABLE study ALTER COLUMN due_at TYPE timestamp")
        found = " ".join(schema.check(postgres_empty))
        assert "size_bytes" in found
        assert "due_at" in found

    def test_a_missing_trigger_is_named(self, empty_url: str) -> None:
        schema.upgrade(empty_url)
        on = " ON audit" if empty_url.startswith("postgresql") else ""
        execute(empty_url, f"DROP TRIGGER audit_refuses_update{on}")
        assert schema.check(empty_url) == ["trigger audit_refuses_update is missing"]


class TestRequireHead:
    def test_a_database_at_the_head_is_taken(self, database: Database) -> None:
        schema.require_head(database)

    def test_an_empty_one_is_refused_with_what_to_do(self, empty_url: str) -> None:
        for database in opened(empty_url):
            with pytest.raises(SchemaError, match=r"revision none.*run `triage db upgrade`"):
                schema.require_head(database)

    def test_one_that_is_behind_is_refused(self, empty_url: str) -> None:
        schema.upgrade(empty_url, "0001")
        for database in opened(empty_url):
            with pytest.raises(SchemaError, match="revision 0001, not"):
                schema.require_head(database)

    def test_one_from_a_newer_release_is_refused_and_left_alone(self, empty_url: str) -> None:
        schema.upgrade(empty_url)
        execute(empty_url, "UPDATE alembic_version SET version_num = '9999'")
        for database in opened(empty_url):
            with pytest.raises(SchemaError, match=r"9999.*newer release"):
                schema.require_head(database)
        with pytest.raises(SchemaError, match="newer release"):
            schema.upgrade(empty_url)
        assert schema.current(empty_url) == "9999"


class TestTrouble:
    def test_processes_that_upgrade_at_once_do_no_harm(self, empty_url: str) -> None:
        program = f"from db import schema; schema.upgrade({empty_url!r})"
        command = [sys.executable, "-W", "error", "-c", program]
        running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
        said = [process.communicate(timeout=60)[1] for process in running]
        assert [process.returncode for process in running] == [0, 0, 0], said
        assert schema.check(empty_url) == []

    @pytest.mark.parametrize("number", [1, 8, 20, 28])
    def test_an_interrupted_migration_leaves_nothing(self, empty_url: str, number: int) -> None:
        with pytest.raises(Interrupted), interrupting(number):
            schema.upgrade(empty_url)
        assert schema.current(empty_url) is None
        assert tables(empty_url) == set()
        schema.upgrade(empty_url)
        assert schema.check(empty_url) == []

    def test_a_url_with_a_percent_sign_is_no_riddle(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / '100%25'}"
        schema.upgrade(url)
        assert schema.current(url) == schema.head()


class Interrupted(Exception):
    """The process was interrupted because we said so."""


@contextmanager
def interrupting(number: int) -> Iterator[None]:
    """Fail the ``number``-th statement that changes the schema, on every engine."""
    met = 0

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal met
        met += statement.lstrip().startswith(("CREATE", "INSERT", "UPDATE"))
        if met == number:
            raise Interrupted

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", count)


class TestScripts:
    @pytest.fixture
    def scripts(self) -> ScriptDirectory:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.set_main_option("path_separator", "os")
        return ScriptDirectory.from_config(config)

    def test_the_head_is_alembics_head(self, scripts: ScriptDirectory) -> None:
        assert scripts.get_heads() == [schema.head()]

    def test_they_stand_in_one_line_in_the_order_of_their_numbers(
        self, scripts: ScriptDirectory
    ) -> None:
        found = [script.revision for script in scripts.walk_revisions()]
        assert found == REVISIONS[::-1]

    def test_alembics_command_line_works(self, tmp_path: Path, scripts: ScriptDirectory) -> None:
        url = f"sqlite:///{tmp_path / 'rows.sqlite'}"
        config = tmp_path / "alembic.ini"
        config.write_text(
            f"[alembic]\nscript_location = {scripts.dir}\npath_separator = os\n"
            f"prepend_sys_path = {Path(migrations.__file__).parents[2]}\n"
        )
        command = [sys.executable, "-m", "alembic", "-c", str(config)]
        for words in (["-x", f"url={url}", "upgrade", "head"], ["-x", f"url={url}", "check"]):
            subprocess.run([*command, *words], check=True, capture_output=True, cwd=tmp_path)
        assert schema.current(url) == schema.head()
        refused = subprocess.run([*command, "current"], capture_output=True, check=False)
        assert refused.returncode == 1
        assert b"name the database" in refused.stderr


def test_looking_at_the_version_needs_no_alembic(url: str) -> None:
    """Every start looks: it must not cost the import."""
    program = (
        "import sys; from db import schema; "
        f"schema.upgrade({url!r}); sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
