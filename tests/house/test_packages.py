"""An installation holds what the repository holds: every package and every file that is no code."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OURS = ("triage", "workers", "models", "db", "configs")


def setup() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tools: dict[str, Any] = found["tool"]["setuptools"]
    return tools


def test_every_package_is_installed() -> None:
    folders = {path.parent for name in OURS for path in (ROOT / name).rglob("*.py")}
    packages = {".".join(one.relative_to(ROOT).parts) for one in folders}
    assert packages <= set(setup()["packages"])


def test_every_file_beside_the_code_is_installed() -> None:
    data: dict[str, list[str]] = setup()["package-data"]
    missing = []
    for path in (one for name in OURS for one in (ROOT / name).rglob("*") if one.is_file()):
        if path.suffix in {".py", ".pyc"}:
            continue
        owners = [
            path.relative_to(ROOT / package.replace(".", "/")).as_posix()
            for package in data
            if path.is_relative_to(ROOT / package.replace(".", "/"))
        ]
        patterns = [pattern for every in data.values() for pattern in every]
        if not any(fnmatch(inside, pattern) for inside in owners for pattern in patterns):
            missing.append(path)
    assert missing == []
