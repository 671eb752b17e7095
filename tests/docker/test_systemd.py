"""The units are those of `triage up`, run commands that exist, and are shut in."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from triage.__main__ import app

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
HARDENED = UNITS / "triage-.service.d" / "hardening.conf"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
HIGHEST = 3.0
"""Of `systemd-analyze security`: 0 is shut in, 10 is open."""


def sections(path: Path) -> dict[str, dict[str, list[str]]]:
    """Give a unit's settings; one that is given twice has both values."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in path.read_text().splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section = found.setdefault(heading[1], {})
        elif "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("name", SERVICES)
def test_every_unit_runs_a_command_that_exists(name: str) -> None:
    [command] = sections(UNITS / name)["Service"]["ExecStart"]
    path, *words = command.split()
    assert path == "/opt/triage/bin/triage"
    part = get_command(app)
    for word in words:
        if word.startswith("--") or not hasattr(part, "commands"):
            break
        assert word in part.commands, command
        part = part.commands[word]


def test_the_target_wants_the_processes_of_triage_up() -> None:
    from triage.commands.up import programs
    from triage.settings import load

    wants = " ".join(sections(UNITS / "triage.target")["Unit"]["Wants"]).split()
    found = {re.sub(r"triage-(\w+)(?:@(\w+))?\.service", r"\1-\2", one).strip("-") for one in wants}
    assert found == {one.name for one in programs(load())}
    assert {re.sub(r"@\w+", "@", one) for one in wants} <= set(SERVICES)


def test_every_unit_is_shut_in_by_the_same_file() -> None:
    given = sections(HARDENED)["Service"]
    for key in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome"):
        assert given[key] == ["yes"], key
    assert given["ProtectSystem"] == ["strict"]
    assert given["CapabilityBoundingSet"] == [""]
    assert given["UMask"] == ["0077"]
    assert given["LimitCORE"] == ["0"]
    assert {"RestrictAddressFamilies", "SystemCallFilter", "IPAddressDeny"} <= set(given)
    assert all(name.startswith("triage-") for name in SERVICES)
    for name in SERVICES:
        service = sections(UNITS / name)["Service"]
        assert not set(service) & set(given), f"{name}: the common file wins"
        assert {"MemoryMax", "TasksMax", "ProcSubset"} <= set(service), name


def test_the_web_cannot_write_what_was_received_and_the_listener_reads_no_key() -> None:
    web = sections(UNITS / "triage-web.service")["Service"]
    assert web["ReadOnlyPaths"] == ["/var/lib/triage/spool"]
    listen = sections(UNITS / "triage-listen.service")["Service"]
    assert "/var/lib/triage/secrets" in listen["InaccessiblePaths"][0]


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_finds_little_to_object_to(name: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    folder = tmp_path / "etc" / "systemd" / "system"
    shutil.copytree(UNITS, folder)
    unit = name.replace("@", "@cpu")
    command = [analyze, "security", "--offline=true", f"--root={tmp_path}", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"exposure level for \S+: (\d+\.\d+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= HIGHEST
