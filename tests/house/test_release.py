"""A release is the commit's and nothing else's, and the same whoever builds it."""

import json
import subprocess
import zipfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.house import release as builder
from tests.house.source import ROOT
from tests.triage.keyring import known, private
from triage.commands.installed import Package
from triage.commands.release import BILL, FACTS, LOCK, SUMS, examine
from triage.errors import ConfigError

BACKEND = """
import os, time, zipfile
from pathlib import Path

def build_wheel(folder, settings=None, metadata=None):
    name = "triage-1.0-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder) / name, "w") as file:
        for path in sorted(Path().glob("*.py")):
            file.writestr(zipfile.ZipInfo(path.name), path.read_bytes())
        file.writestr(zipfile.ZipInfo("about.txt"), str(SAID))
    return name
"""
"""A build backend of a few lines, so that a build costs no more than its start."""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "triage"
version = "1.0"
"""


def commit(folder: Path) -> None:
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "All")):
        subprocess.run(
            ["git", "-C", str(folder), "-c", "user.name=Tests", "-c", "user.email=tests@localhost",
             "-c", "commit.gpgsign=false", *words],
            check=True, timeout=60, capture_output=True,
        )  # fmt: skip


def repository(folder: Path, said: str) -> Path:
    """Make a repository of one small project whose wheel says what an expression gives."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(BACKEND.replace("SAID", said))
    (folder / LOCK).write_text(f"pydantic=={version('pydantic')} \\\n    --hash=sha256:00\n")
    commit(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("release")
    project = repository(place / "project", "'the same'")
    (project / "not_committed.py").write_text("")
    return builder.make(project, place / "out", private("ours"))


def test_it_is_whole_and_signed(made: Path) -> None:
    found = examine(made, (known("ours"),))
    assert (found.problems, found.by) == ((), known("ours"))
    assert {path.name for path in made.iterdir()} >= {LOCK, BILL, FACTS, SUMS}


def test_it_holds_what_was_committed_and_says_which_commit(made: Path) -> None:
    [wheel] = made.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        assert set(file.namelist()) == {"backend.py", "about.txt"}
    facts = json.loads((made / FACTS).read_text())
    said = subprocess.run(
        ["git", "-C", str(made.parent / "project"), "log", "-1", "--format=%H %ct"],
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout.split()  # fmt: skip
    assert [facts["commit"], str(facts["source_date_epoch"])] == said
    assert set(facts["tools"]) == {"build", "setuptools", "wheel"}


def test_a_folder_that_holds_something_is_not_released_into(made: Path) -> None:
    with pytest.raises(ConfigError, match="empty folder"):
        builder.make(made.parent / "project", made, None)


@pytest.mark.parametrize("said", ["time.time_ns()", "os.getcwd()", "hash('a name')"])
def test_a_build_that_differs_from_the_next_is_no_release(tmp_path: Path, said: str) -> None:
    project = repository(tmp_path / "project", said)
    with pytest.raises(builder.NotReproducible, match=r"about\.txt"):
        builder.make(project, tmp_path / "out", private("ours"))
    assert not (tmp_path / "out" / SUMS).exists()


def test_a_build_that_fails_is_no_release(tmp_path: Path) -> None:
    project = repository(tmp_path / "project", "1 / 0")
    with pytest.raises(ConfigError, match="was not built"):
        builder.make(project, tmp_path / "out", None)


def test_an_environment_that_is_not_the_locks_is_told() -> None:
    lock = "one==1.0 \\\n    --hash=sha256:00\n    # via one==9\ntwo==2.0 \\\nthree==3.0 \\\n"
    here = (Package("one", "1.0", ""), Package("two", "2.1", ""), Package("more", "9", ""))
    assert builder.drift(lock, here) == [
        "two is 2.1, the lock says 2.0",
        "three is missing, the lock says 3.0",
    ]


def test_the_wheel_of_this_project_is_the_same_when_built_again(tmp_path: Path) -> None:
    commit = builder.read_commit(ROOT)
    wheel = builder.wheel_twice(commit, tmp_path)
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        times = {one.date_time[:5] for one in file.infolist()}
    assert {"triage/__main__.py", "models/zoo/chest-radiograph-memae/MANIFEST.sha256"} <= names
    assert times == {datetime.fromtimestamp(commit.epoch, UTC).timetuple()[:5]}
    assert not any(name.startswith("tests/") for name in names)
