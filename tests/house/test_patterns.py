"""No source file holds a pattern that lets attackers in, and each rule finds a planted one."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.house import patterns
from tests.house.source import PACKAGES, ROOT, files, tree

Rule = Callable[[ast.Module], Iterator[int]]
RULES: tuple[Rule, ...] = (
    patterns.runs_code,
    patterns.opens_a_shell,
    patterns.trusts_anybody,
    patterns.sql_from_text,
    patterns.path_from_data,
    patterns.url_from_data,
    patterns.quiet_assertions,
)
PLANTED: tuple[tuple[Rule, str], ...] = (
    (patterns.runs_code, "import pickle"),
    (patterns.runs_code, "from joblib import load"),
    (patterns.runs_code, "from torch import load"),
    (patterns.runs_code, "weights = torch.load(path)"),
    (patterns.runs_code, "weights = torch.load(path, weights_only=True)"),
    (patterns.runs_code, "np.load(path)"),
    (patterns.runs_code, "np.load(path, allow_pickle=True)"),
    (patterns.runs_code, "yaml.load(text, Loader=yaml.Loader)"),
    (patterns.runs_code, "eval(text)"),
    (patterns.runs_code, "exec(compile(text, 'x', 'exec'))"),
    (patterns.opens_a_shell, "subprocess.run(f'dcmdump {path}', shell=True)"),
    (patterns.opens_a_shell, "os.system(command)"),
    (patterns.trusts_anybody, "httpx.get(url, verify=False)"),
    (patterns.trusts_anybody, "context = ssl._create_unverified_context()"),
    (patterns.sql_from_text, "session.execute(text(f'SELECT * FROM study WHERE uid = {uid}'))"),
    (patterns.sql_from_text, "session.execute('DELETE FROM study WHERE id = %s' % number)"),
    (patterns.sql_from_text, "session.execute('SELECT 1 FROM ' + table)"),
    (patterns.sql_from_text, "query = 'SELECT 1 FROM {}'.format(table)"),
    (patterns.path_from_data, "path = folder / dataset.PatientID"),
    (patterns.path_from_data, "path = folder / f'{dataset.SOPInstanceUID}.dcm'"),
    (patterns.path_from_data, "open(dataset['StudyDescription'].value)"),
    (patterns.path_from_data, "Path(root, str(header.get('PatientName')))"),
    (patterns.path_from_data, "path = out / f'{study.accession_number}.pdf'"),
    (patterns.url_from_data, "httpx.get(dataset.RetrieveURL)"),
    (patterns.url_from_data, "httpx.get(dataset['PixelDataProviderURL'].value)"),
    (patterns.quiet_assertions, "def f(role):\n    assert role == 'admin'"),
)
HARMLESS: tuple[tuple[Rule, str], ...] = (
    (patterns.runs_code, "np.load(path, allow_pickle=False)"),
    (patterns.runs_code, "detector.eval()\nre.compile('x')"),
    (patterns.opens_a_shell, "subprocess.run(['dcmdump', path], shell=False)"),
    (patterns.sql_from_text, "session.execute(text('SELECT 1 WHERE uid = :uid'), {'uid': uid})"),
    (patterns.sql_from_text, "message = f'select a study, then retry {number}'.format()"),
    (patterns.path_from_data, "path = folder / f'{digest}.dcm'\nratio = total / dataset.Rows"),
    (patterns.quiet_assertions, "def f(row):\n    assert isinstance(row, Row)"),
)
MIGRATION = "db/migrations/versions"
EXCEPT: dict[Rule, dict[str, str]] = {
    patterns.sql_from_text: {
        f"{MIGRATION}/0002_append_only_record.py": "triggers for tables of a list in the file",
        f"{MIGRATION}/0003_readers_feedback.py": "two triggers for words of a list in the file",
        f"{MIGRATION}/0011_audit_views.py": "views whose names and text stand in the file",
        f"{MIGRATION}/0012_audit_by_month.py": "names of tables, from a list in the file",
        f"{MIGRATION}/0013_worklist.py": "names of columns to search in, from a list in the file",
    }
}
"""File, and why: all of them migrations, which stay as they ran. No database binds the name of a
table or a column, and none of these names comes from outside its file."""


@cache
def broken(rule: Rule) -> list[tuple[str, int]]:
    return [(str(path), line) for path in files() for line in rule(tree(path))]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_source_file_breaks_the_rule(rule: Rule) -> None:
    excepted = tuple(EXCEPT.get(rule, {}))
    assert [one for one in broken(rule) if not one[0].startswith(excepted or " ")] == []


@pytest.mark.parametrize(("rule", "source"), PLANTED)
def test_a_planted_finding_is_found(rule: Rule, source: str) -> None:
    assert list(rule(ast.parse(source)))


@pytest.mark.parametrize(("rule", "source"), HARMLESS)
def test_what_is_harmless_is_let_through(rule: Rule, source: str) -> None:
    assert not list(rule(ast.parse(source)))


def test_every_rule_has_a_planted_finding() -> None:
    assert {rule for rule, _ in PLANTED} == set(RULES)


def test_every_exception_is_still_needed() -> None:
    for rule, places in EXCEPT.items():
        for place, why in places.items():
            assert why
            assert any(path.startswith(place) for path, _ in broken(rule)), place


JUDGED = {
    (f"{MIGRATION}/0013_worklist.py", "B608"): "names of columns, from a list in the file",
    ("triage/worklist/account.py", "B704"): "a drawing that we made, of a secret that we made",
}
"""Findings of bandit that were looked at: where, and why they stand."""


def bandit(*paths: Path | str) -> list[str]:
    """Run bandit; gives what it holds to be of medium or high severity."""
    command = [sys.executable, "-m", "bandit", "-q", "-ll", "-f", "json", "-r", *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert found["errors"] == []
    return [f"{one['filename']}:{one['line_number']} {one['test_id']}" for one in found["results"]]


def test_bandit_finds_nothing_of_medium_severity() -> None:
    found = bandit(*PACKAGES)
    judged = {one for one in found for place in JUDGED if one.startswith(place[0])
              and one.endswith(place[1])}  # fmt: skip
    assert set(found) - judged == set()
    for (file, rule), why in JUDGED.items():
        assert why
        assert any(one.startswith(f"{file}:") and one.endswith(rule) for one in judged), file


def test_bandit_finds_what_is_planted(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("import yaml\nyaml.load('x', Loader=yaml.Loader)\neval('1')\n")
    assert [one.split()[-1] for one in bandit(planted)] == ["B506", "B307"]
