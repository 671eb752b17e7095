"""What ``triage rebuild-index`` says at its end, for a person and for a program."""

import json
import sqlite3
from pathlib import Path

import pytest

from db.engine import Database
from tests.triage.commands.cli import triage
from tests.triage.commands.test_rebuild import as_changed, as_folder, rebuilt, three
from triage.commands import common
from triage.commands.rebuild import Rebuilt
from triage.commands.rebuild_passed import REASONS, Passed
from triage.commands.rebuild_told import NEXT, SHOWN, tell
from triage.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_how_many_which_why_and_what_next(
    sqlite_database: Database, spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, lost, _ = three(spool)
    as_changed(changed)
    as_folder(lost)
    assert tell(rebuilt(sqlite_database, spool), as_json=False) == common.FAILED
    out, err = capsys.readouterr()
    assert out.startswith("3 files, 0 known, 1 indexed in 1 studies")
    assert out.endswith("0 in quarantine, 2 passed over.\n")
    assert f"{changed.stem[:12]} corrupt: its bytes are no longer its digest's\n" in err
    assert f"{lost.stem[:12]} unreadable: " in err
    assert "(IsADirectoryError EISDIR)\n" in err
    assert changed.stem not in out + err
    assert "1 corrupt: restore it from the spool's backup" in err
    assert "Then run `triage rebuild-index` again" in err


def test_the_same_as_json(
    sqlite_database: Database, spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, *_ = three(spool)
    as_folder(bad)
    assert tell(rebuilt(sqlite_database, spool), as_json=True) == common.FAILED
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["files"], found["known"], found["indexed"], err) == (3, 0, 2, "")
    assert found["passed_over"] == [
        {"file": bad.stem[:12], "code": "unreadable", "detail": "IsADirectoryError EISDIR"}
    ]


def test_nothing_was_wrong(
    sqlite_database: Database, spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    three(spool)
    assert tell(rebuilt(sqlite_database, spool), as_json=False) == common.OK
    out, err = capsys.readouterr()
    assert (out.endswith("0 passed over.\n"), err) == (True, "")


def test_very_many_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    done = Rebuilt(passed_over=[Passed(f"{n:012}", "corrupt") for n in range(SHOWN + 3)])
    tell(done, as_json=False)
    err = capsys.readouterr().err
    assert err.count("passed over: ") == SHOWN
    assert "3 more; `triage rebuild-index --json` names all" in err
    assert f"{SHOWN + 3} corrupt: " in err


def test_each_reason_has_its_next_step() -> None:
    assert NEXT.keys() == REASONS.keys()


def test_the_command_itself(state: Path) -> None:
    bad, *_ = three(Spool(state / "spool"))
    as_folder(bad)
    said = triage("rebuild-index", "--state", state)
    assert said.code == common.FAILED
    assert said.out.startswith("3 files, 0 known, 2 indexed in 2 studies")
    assert f"passed over: {bad.stem[:12]} unreadable" in said.err
    again = triage("rebuild-index", "--state", state, "--json")
    assert (again.code, again.json["known"], again.json["indexed"]) == (common.FAILED, 2, 0)
    assert [one["code"] for one in again.json["passed_over"]] == ["unreadable"]
    bad.rmdir()
    assert triage("rebuild-index", "--state", state).code == common.OK


def test_the_command_ends_with_words_where_every_file_would_meet_it(state: Path) -> None:
    three(Spool(state / "spool"))
    with sqlite3.connect(state / "triage.sqlite") as database:
        database.execute("DROP TABLE instance")
    database.close()
    said = triage("rebuild-index", "--state", state)
    assert said.code == common.SETUP
    assert "triage: stopped by the database (OperationalError)" in said.err
    assert "Traceback" not in said.err
