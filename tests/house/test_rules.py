"""The rules of the house hold in every source file, and the rules themselves can fail."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.house import rules
from tests.house.source import ROOT, files, tree

Rule = Callable[[ast.Module], Iterator[int]]
LONGEST = 400
EXCEPT: dict[Rule, set[Path]] = {rules.state_writes: {Path("db/lifecycle.py")}}


def broken(rule: Rule) -> list[str]:
    places = ((path, line) for path in files() for line in rule(tree(path)))
    return [f"{path}:{line}" for path, line in places if path not in EXCEPT.get(rule, ())]


def test_nobody_commits_but_the_transaction_block() -> None:
    assert broken(rules.commits) == []


def test_only_the_lifecycle_writes_a_study_state() -> None:
    assert broken(rules.state_writes) == []
    assert list(rules.state_writes(tree(Path("db/lifecycle.py")))) == []


def test_no_log_and_no_error_holds_a_patient_value() -> None:
    assert broken(rules.patient_in_words) == []


def test_no_source_file_is_longer_than_a_reader_bears() -> None:
    lengths = {path: (ROOT / path).read_text(encoding="utf-8").count("\n") for path in files()}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}


def test_the_packages_are_seen() -> None:
    assert {Path("db/lifecycle.py"), Path("triage/ingest.py")} <= set(files())


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (rules.commits, "session.commit()"),
        (rules.state_writes, "def f(study):\n    study.state = 'x'"),
        (rules.state_writes, "def f(row: StudyRow):\n    row.state, row.fence = 'x', 1"),
        (rules.state_writes, "def f(s):\n    one = s.get(StudyRow, 1)\n    one.state = 'x'"),
        (rules.state_writes, "def f(s):\n    for a in s.q(StudyRow):\n        a.state = 'x'"),
        (rules.state_writes, "s.execute(update(StudyRow).where(q).values(state=x))"),
        (rules.state_writes, "StudyRow(study_instance_uid=u, state=StudyState.READY)"),
        (rules.state_writes, "setattr(study, 'state', x)"),
        (rules.patient_in_words, "log.get().info('seen', patient_id=study.id)"),
        (rules.patient_in_words, "logger.debug('seen %s', dataset.PatientName)"),
        (rules.patient_in_words, "raise ValueError(f'{study.patient_name} is odd')"),
        (rules.patient_in_words, "msg = f'odd: {header[\"PatientID\"]}'"),
        (rules.patient_in_words, "raise Held('x', str(ds.get('PatientID')))"),
    ],
)
def test_a_rule_finds_what_it_forbids(rule: Rule, source: str) -> None:
    assert list(rule(ast.parse(source)))


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (rules.state_writes, "def f(s):\n    row = s.get(OutboxRow, 1)\n    row.state = 'sent'"),
        (rules.state_writes, "StudyRow(study_instance_uid=u, state=StudyState.RECEIVING)"),
        (rules.state_writes, "s.execute(update(OutboxRow).values(state=x))"),
        (rules.patient_in_words, "raise Held('no-patient', 'PatientID is missing')"),
        (rules.patient_in_words, "log.get().info('seen', study=study.id)"),
    ],
)
def test_a_rule_lets_the_rest_be(rule: Rule, source: str) -> None:
    assert not list(rule(ast.parse(source)))
