"""``triage feedback``: what stands, what was changed, and a CSV that runs nothing."""

import csv
import io
import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from db.engine import Database
from db.tables import AuditRow, DetectionRow, StudyRow, UserRow
from tests.triage.worklist.builders import add_result, add_study
from triage.__main__ import app
from triage.commands.feedback import COLUMNS, as_csv, words
from triage.worklist import said
from triage.worklist.sessions import Viewer

FORMULA_OF_A_READER = "=cmd|'/C calc'!A0"


@pytest.fixture
def spoken(database: Database) -> Database:
    """Two readers on one finding; one changed her mind, one took it back."""
    with database.begin() as session:
        study = add_study(session, "prioritised", study_instance_uid="1.2.3")
        finding = str(add_result(session, study, score=-0.25).id)
        for name in (FORMULA_OF_A_READER, "second"):
            user = UserRow(
                name=name, password_hash="x", role="reader", created_at=study.received_at
            )
            session.add(user)
            session.flush()
            who = Viewer(user.id, name, "reader", "", "", timedelta(0))
            said.say(session, study, who, ("agree", "", finding), mode="triage")
            said.say(session, study, who, ("missed", "subtle", ""), mode="triage")
            if name == "second":
                said.undo(session, study, who, mode="triage")
            else:
                said.say(session, study, who, ("disagree", "artifact", finding), mode="triage")
    return database


def test_only_what_stands_is_listed_unless_all_is_asked_for(spoken: Database) -> None:
    standing = [(one["reader"], one["verdict"]) for one in words(spoken)]
    assert standing == [
        ("second", "agree"), (FORMULA_OF_A_READER, "disagree"), (FORMULA_OF_A_READER, "missed"),
    ]  # fmt: skip
    every = words(spoken, every=True)
    assert len(every) == 6
    assert sum(one["standing"] for one in every) == 3
    assert words(spoken, study="1.2.3", limit=1) == words(spoken, limit=1)


def test_no_cell_of_the_csv_is_a_formula(spoken: Database) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(words(spoken)))))
    assert {row["reader"] for row in rows} == {"second", f"'{FORMULA_OF_A_READER}"}
    assert tuple(rows[0]) == COLUMNS
    of_finding = [row for row in rows if row["detector"]]
    assert {float(row["score"]) for row in of_finding} == {-0.25}
    assert rows[1]["reason"] == "Artifact or technique"


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\r=1"])
def test_a_text_that_begins_like_a_formula_gets_a_quote(value: str) -> None:
    [_, row] = csv.reader(io.StringIO(as_csv([dict.fromkeys(COLUMNS, value)])))
    assert {cell[0] for cell in row} == {"'"}


def test_nothing_of_the_patient_is_in_it(spoken: Database) -> None:
    text = as_csv(words(spoken, every=True))
    assert "DOE" not in text
    assert "P1" not in text


class TestCommandLine:
    @pytest.fixture
    def state(self, migrated_file: Path, tmp_path: Path) -> Path:
        (tmp_path / "triage.sqlite").write_bytes(migrated_file.read_bytes())
        return tmp_path

    def test_an_empty_list_is_an_empty_list(self, state: Path) -> None:
        run = CliRunner().invoke(app, ["feedback", "ls", "--json", "--state", str(state)])
        assert (run.exit_code, json.loads(run.stdout)) == (0, [])

    def test_an_export_is_private_and_audited(self, state: Path) -> None:
        from db.engine import connect

        target = state / "words.csv"
        run = CliRunner().invoke(
            app, ["feedback", "export", "--csv", str(target), "--state", str(state)]
        )
        assert run.exit_code == 0, run.output
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert target.read_text().startswith("id,at,study_instance_uid")
        database = connect(f"sqlite:///{state / 'triage.sqlite'}")
        with database.reading() as session:
            kinds = list(session.scalars(select(AuditRow.event_type)))
        database.dispose()
        assert kinds == ["feedback.exported"]


def test_a_word_on_a_detection_that_is_known_carries_its_numbers(spoken: Database) -> None:
    with spoken.reading() as session:
        detection = session.scalars(select(DetectionRow)).one()
        assert session.scalars(select(StudyRow)).one().score is None
    found = [one for one in words(spoken) if one["detector"]]
    assert {(one["p_value"], one["version"]) for one in found} == {
        (detection.p_value, detection.version)
    }
