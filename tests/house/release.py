"""A release from the last commit, built twice and signed: ``make release KEY=FILE``.

The wheel is made of the commit alone, in two places, under two environments. Whoever has the
commit and the lock's tools gets the same bytes; without a key everything is made but signatures.
"""

import argparse
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.utils import canonicalize_name

from triage.commands import release, sbom
from triage.commands.installed import Package, packages
from triage.commands.signing import installed, read_key, sign_artifact
from triage.errors import ConfigError, TriageError
from triage.trust import DETACHED

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ENVIRONMENTS: Final = (
    {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C"},
    {"PYTHONHASHSEED": "2", "TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8"},
)
"""What a build must not depend on; the folder differs too."""
TOOLS: Final = ("build", "setuptools", "wheel")
PIN: Final = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)
"""Name and version at the beginning of a line of the lock."""


class NotReproducible(TriageError):
    """Two builds of one commit differ: nobody could tell a changed wheel from a released one."""


@dataclass(frozen=True)
class Commit:
    """What is released."""

    name: str
    epoch: int
    """Seconds since 1970, when it was committed: every time in the wheel."""
    archive: bytes
    """A tar of its files; nothing that is not committed is in it."""


def read_commit(repository: Path) -> Commit:
    """Read the last commit."""

    def git(*words: str) -> bytes:
        return subprocess.run(
            ["git", "-C", str(repository), *words], check=True, capture_output=True, timeout=60
        ).stdout

    name, epoch = git("log", "-1", "--format=%H %ct").split()
    return Commit(name.decode(), int(epoch), git("archive", "--format=tar", name.decode()))


def wheel_twice(commit: Commit, work: Path) -> Path:
    """Build the wheel in two places and give one of them.

    Raises:
        NotReproducible: they are not the same, byte for byte.
    """
    first, second = (
        _build(commit, work / f"{number}-{'x' * number}", variables)
        for number, variables in enumerate(ENVIRONMENTS)
    )
    if (first.name, first.read_bytes()) != (second.name, second.read_bytes()):
        msg = f"{first.name} is another one when built again; see {_differing(first, second)}"
        raise NotReproducible(msg)
    return first


def _build(commit: Commit, place: Path, variables: dict[str, str]) -> Path:
    source = unpack(commit, place / "source")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", ".."]
    environment = {**os.environ, **variables, "SOURCE_DATE_EPOCH": str(commit.epoch)}
    done = subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        msg = f"the wheel was not built: {(done.stdout + done.stderr)[-500:]}"
        raise ConfigError(msg)
    [wheel] = place.glob("*.whl")
    return wheel


def unpack(commit: Commit, place: Path) -> Path:
    """Write the commit's files; the umask of who builds does not reach them."""
    with tarfile.open(fileobj=io.BytesIO(commit.archive)) as tar:
        tar.extractall(place, filter="data")
    return place


def _differing(first: Path, second: Path) -> str:
    one, other = (_members(path) for path in (first, second))
    names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    return ", ".join(names) or "the order or the times of its members"


def _members(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as file:
        return {name: hashlib.sha256(file.read(name)).hexdigest() for name in file.namelist()}


def drift(lock: str, found: Iterable[Package]) -> list[str]:
    """Say where this environment is not the lock's: its bill would be of something else."""
    here = {one.name: one.version for one in found}
    return [
        f"{name} is {here.get(canonicalize_name(name), 'missing')}, the lock says {pinned}"
        for name, pinned in PIN.findall(lock)
        if here.get(canonicalize_name(name)) != pinned
    ]


def make(repository: Path, out: Path, key: "Ed25519PrivateKey | None") -> Path:
    """Make a release of the last commit in an empty folder.

    Raises:
        ConfigError: the folder holds something, or this environment is not the lock's.
        NotReproducible: two builds differ.
    """
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        msg = f"{out} holds something already; name an empty folder"
        raise ConfigError(msg)
    commit, found = read_commit(repository), packages()
    with tempfile.TemporaryDirectory() as work:
        source = unpack(commit, Path(work) / "source")
        lock = (source / release.LOCK).read_text(encoding="utf-8")
        if lines := drift(lock, found):
            msg = f"build in an environment of the lock alone: {'; '.join(lines[:3])}"
            raise ConfigError(msg)
        wheel = wheel_twice(commit, Path(work))
        shutil.copyfile(wheel, out / wheel.name)
        shutil.copyfile(source / release.LOCK, out / release.LOCK)
        _write(out / release.BILL, _bill(commit, found, source))
        _write(out / release.FACTS, _facts(commit))
        if key is not None:
            for folder in installed([source / "models" / "zoo"]):
                sign_artifact(folder, key, out / f"{folder.name}{DETACHED}")
    release.seal(out, key)
    return out


def _bill(commit: Commit, found: Sequence[Package], source: Path) -> dict[str, object]:
    written = sbom.bill(found, sbom.detectors([source / "models" / "zoo"]))
    at = datetime.fromtimestamp(commit.epoch, UTC).isoformat(timespec="seconds")
    return {**written, "metadata": {**written["metadata"], "timestamp": at}}


def _facts(commit: Commit) -> dict[str, object]:
    return {
        "commit": commit.name,
        "source_date_epoch": commit.epoch,
        "python": platform.python_version(),
        "tools": {name: version(name) for name in TOOLS},
    }


def _write(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Make a release; what stands in the way is one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--key", type=Path)
    chosen = parser.parse_args()
    try:
        made = make(Path.cwd(), chosen.out, read_key(chosen.key) if chosen.key else None)
    except TriageError as why:
        sys.stderr.write(f"{why}\n")
        return 1
    sys.stdout.write((made / release.SUMS).read_text(encoding="utf-8"))
    sys.stdout.write("" if chosen.key else "Not signed: name a key, make release KEY=FILE\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
