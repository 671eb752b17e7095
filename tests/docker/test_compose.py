"""No engine runs here: what can be known without one is checked."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from tests.docker.services import entries, users
from tests.docker.test_systemd import UNITS, sections
from triage.__main__ import app

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"


def services() -> dict[str, dict[str, Any]]:
    found = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    assert isinstance(found, dict)
    return found


def ours() -> dict[str, list[str]]:
    return {name: one["command"] for name, one in services().items() if "build" in one}


@pytest.mark.parametrize(("name", "command"), ours().items(), ids=ours())
def test_every_service_runs_a_command_that_exists(name: str, command: list[str]) -> None:
    part = get_command(app)
    for word in command:
        if word.startswith("--") or not hasattr(part, "commands"):
            break
        assert word in part.commands, f"{name}: triage {' '.join(command)}"
        part = part.commands[word]


def test_the_services_are_the_processes_of_triage_up() -> None:
    from triage.commands.up import programs
    from triage.settings import Broker, load

    settings = load()
    site = settings.site.model_copy(update={"broker": Broker(url="redis://redis")})
    processes = {one.name for one in programs(settings.model_copy(update={"site": site}))}
    assert processes == set(ours()) - set(optional()) - {"migrate"}


def optional() -> dict[str, list[str]]:
    return {name: one["command"] for name, one in services().items() if "profiles" in one}


def test_what_a_site_switches_on_has_a_service_that_is_off_until_then() -> None:
    from triage.collectors import Audit
    from triage.commands.up import by_setting
    from triage.prior_sources import Priors
    from triage.settings import load

    settings = load()
    site = settings.site
    manager = site.ups.manager.model_copy(update={"enabled": True})
    performer = site.ups.performer.model_copy(update={"managers": ("one",)})
    server = site.dicomweb.server.model_copy(update={"enabled": True})
    everything = site.model_copy(
        update={
            "audit": Audit.model_construct(collectors=("one",)),
            "priors": Priors.model_construct(sources=("one",)),
            "ups": site.ups.model_copy(update={"manager": manager, "performer": performer}),
            "dicomweb": site.dicomweb.model_copy(update={"server": server}),
        }
    )
    found = by_setting(settings.model_copy(update={"site": everything}))
    assert {one.name: list(one.arguments[1:]) for one in found} == optional()


def test_the_dockerfile_copies_what_exists() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    sources = [word for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for word in line.split()]
    assert {"triage", "workers", "models", "db", "configs"} <= set(sources)
    assert all((ROOT / source).exists() for source in sources)


def test_nothing_runs_as_root_or_with_privileges() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    assert text.count("\nUSER 10001") == text.count("ENTRYPOINT")
    for name in ours():
        number = int(services()[name]["user"].partition(":")[0])
        assert number >= 10_001
        assert services()[name]["cap_drop"] == ["ALL"]
        assert services()[name]["read_only"] is True


def unit(name: str) -> str:
    """Give the unit that does what a service does."""
    return "triage-worker@" if name.startswith("worker-") else f"triage-{name}"


@pytest.mark.parametrize("name", ours())
def test_each_service_has_the_user_of_its_unit_and_that_users_secrets(name: str) -> None:
    numbers = {user: f"{number}:10000" for number, user in enumerate(users(), start=10_001)}
    one, [user] = services()[name], sections(UNITS / f"{unit(name)}.service")["Service"]["User"]
    assert one["user"] == numbers[user]
    secret = f"pgpass-{user.removeprefix('triage-')}"
    assert one["secrets"] == [secret]
    given = one["environment"]
    assert given["PGPASSFILE"] == f"/run/secrets/{secret}"
    assert given["TRIAGE_STATE"] == "/srv/triage"
    assert given["TRIAGE__SHARING__READERS"] == "10000"
    has_keys = [path for _, path, _, owner, _ in entries() if owner == user and "/secrets/" in path]
    for path in has_keys:
        assert given["TRIAGE__SHARING__SECRETS"] == Path(path).name


def test_the_image_has_the_folders_of_the_units_each_with_its_owner(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    (tmp_path / "etc").mkdir()
    command = [sys.executable, str(DOCKER / "folders.py"), str(tmp_path), "/srv/triage"]
    subprocess.run(command, check=True, timeout=60)
    rows = [line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines()]
    numbers = {name: int(number) for name, _, number, *_ in rows} | {"root": 0}
    assert [name for name in numbers if name != "root"] == users()
    assert set(range(10_001, 10_001 + len(users()))) == set(numbers.values()) - {0}
    assert all(row[3] == "10000" and row[-1] == "/usr/sbin/nologin" for row in rows)
    assert (tmp_path / "etc/group").read_text() == "triage:x:10000:\n"
    below = [one for one in entries() if one[1].startswith("/var/lib/triage")]
    for kind, path, mode, user, _ in below:
        place = tmp_path / path.replace("/var/lib/triage", "srv/triage")
        facts = place.stat()
        assert f"{facts.st_mode & 0o7777:04o}" == mode, path
        assert (facts.st_uid, facts.st_gid) == (numbers[user], 10_000), path
        assert place.is_dir() == (kind == "d")
