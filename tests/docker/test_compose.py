"""No engine runs here: what can be known without one is checked."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

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
        assert services()[name]["cap_drop"] == ["ALL"]
        assert services()[name]["read_only"] is True
