"""The services' users, folders and environments as ``deploy/`` says them, under numbers of ours.

Runs as root: it makes the folders of ``tmpfiles.d`` below another root, and starts processes under
the users that the units name, which need not exist on this machine.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from db import schema
from tests.docker.test_systemd import UNITS, sections

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FIRST = 61_101
"""Of the numbers; none of them is anybody's on a usual system."""
STRANGER = "stranger"
WAIT_S = 60


@dataclass(frozen=True)
class House:
    """An installation below ``root``."""

    root: Path
    python: str
    ids: dict[str, int]
    group: int

    @property
    def state(self) -> Path:
        return self.root / "var/lib/triage"

    @property
    def spool(self) -> Path:
        return self.state / "spool"

    def kept(self) -> list[Path]:
        return sorted((self.spool / "store").rglob("*.dcm"))

    def waiting(self) -> list[Path]:
        return sorted((self.spool / "in").rglob("*.dcm"))

    def start(self, unit: str, script: str, *arguments: object) -> subprocess.Popen[str]:
        """Run a script as a unit runs its command; as nobody of ours for the stranger."""
        user = sections(UNITS / f"{unit}.service")["Service"]["User"][0] if unit != STRANGER else ""
        environment = {
            "PATH": os.defpath, "HOME": "/", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
            "TRIAGE_STATE": str(self.state), "TRIAGE_CONFIG": str(self.root / "etc/triage"),
            "TRIAGE__SHARING__READERS": str(self.group),
            "TRIAGE__SHARING__SECRETS": unit.partition("@")[0],
        }  # fmt: skip
        number = self.ids.get(user, FIRST - 1)
        return subprocess.Popen(
            [self.python, "-c", script, *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/", umask=0o077,
            user=number, group=self.group if user else number, extra_groups=[], env=environment,
        )  # fmt: skip

    def run(self, unit: str, script: str, *arguments: object) -> object:
        """Run a script to its end; gives what it printed, which is JSON."""
        process = self.start(unit, script, *arguments)
        said, complaint = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, complaint
        return json.loads(said)


def build(root: Path) -> House:
    """Make the folders, each with its owner and mode.

    Skips where no interpreter can be run by anybody but us.
    """
    root.chmod(0o755)
    names, [group] = users(), groups()
    ids = {name: number for number, name in enumerate(names, start=FIRST)}
    house = House(root, python(root), ids, FIRST + 99)
    for kind, path, mode, user, owner in entries():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        assert owner == group
        if kind == "d":
            place.mkdir()
        else:
            place.touch()
        os.chown(place, house.ids.get(user, 0), house.group)
        place.chmod(int(mode, 8))
    return house


def rows(house: House, user: str) -> str:
    """Make a database that belongs to a user; gives its URL."""
    folder = house.root / f"rows-of-{user}"
    url = f"sqlite:///{folder / 'rows.sqlite'}"
    if folder.exists():
        return url
    folder.mkdir()
    schema.upgrade(url)
    give(house, user, folder)
    return url


def give(house: House, user: str, folder: Path) -> None:
    """Let a folder and what is in it belong to a user."""
    for path in (folder, *folder.iterdir()):
        os.chown(path, house.ids[user], house.group)


def wait(question: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Ask until yes, while the service lives."""
    deadline = time.monotonic() + WAIT_S
    while not question():
        assert process.poll() is None, complain(process)
        assert time.monotonic() < deadline, complain(process)
        time.sleep(0.05)


def complain(process: subprocess.Popen[str]) -> str:
    """Fail with what a service said."""
    process.kill()
    return pytest.fail(process.communicate()[1])


def end(process: subprocess.Popen[str]) -> str:
    """Stop a service by its number, and wait until it is gone; gives what it complained."""
    if process.poll() is None:
        os.kill(process.pid, signal.SIGTERM)
    try:
        return process.communicate(timeout=WAIT_S)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise


def users() -> list[str]:
    return [words[1] for words in _lines("sysusers.d") if words[0] == "u"]


def groups() -> list[str]:
    return [words[1] for words in _lines("sysusers.d") if words[0] == "g"]


def entries() -> list[list[str]]:
    """Kind, path, mode, user and group of each line of ``tmpfiles.d``."""
    return _lines("tmpfiles.d")


def python(root: Path) -> str:
    """Give an interpreter with our packages that everybody may run."""
    if _runs(sys.executable):
        return sys.executable
    base, made = f"/usr/bin/python3.{sys.version_info.minor}", root / "python"
    if Path(base).exists():
        subprocess.run([base, "-m", "venv", "--without-pip", made], check=True, timeout=WAIT_S)
        packages = made / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
        (packages / "ours.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
        if _runs(str(made / "bin" / "python")):
            return str(made / "bin" / "python")
    return pytest.skip("no interpreter with our packages that another user may run")


def _runs(interpreter: str) -> bool:
    command = [interpreter, "-c", "import numpy, pydantic, triage"]
    try:
        done = subprocess.run(
            command, user=FIRST - 1, group=FIRST - 1, extra_groups=[], cwd="/", env={},
            capture_output=True, check=False, timeout=WAIT_S,
        )  # fmt: skip
    except PermissionError:
        return False
    return done.returncode == 0


def _lines(folder: str) -> list[list[str]]:
    text = (DEPLOY / folder / "triage.conf").read_text()
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]
